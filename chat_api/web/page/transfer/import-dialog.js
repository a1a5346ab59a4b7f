// The dialog that brings in files: which ones, how far it is, and what wasn't taken.

import { announce } from "../ui/announcer.js";
import { openDialog } from "../ui/dialogs.js";
import { h } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { toast } from "../ui/toast.js";
import { importAll } from "./import-all.js";
import { ABOUT, CANCELLED, count, failure, PROBLEMS, SOURCES, summary } from "./import-words.js";
import { askBeforeLeaving } from "./leaving.js";
import { sizeOf } from "./sizes.js";

/**
 * @param {import("../../client.js").ChatClient} chat
 * @param {File[]} files those that are offered
 * @param {() => void} taken called when conversations may have been added
 */
export function openImport(chat, files, taken) {
  const body = h("div", { class: "import" });
  let running = null; // aborts the import that is under way
  const dialog = openDialog("Import conversations", [body], { wide: true, holds: () => running !== null });
  const show = (...nodes) => {
    body.replaceChildren(...nodes);
    (body.querySelector("[autofocus]") ?? dialog).focus();
  };
  const choose = (problem = "") => show(...choosing(problem, offer));
  const offer = (chosen) => show(...offering(chosen, () => run(chosen), () => choose()));

  const run = async (chosen) => {
    const cancelling = (running = new AbortController());
    const { signal } = cancelling;
    const { nodes, tell } = progressing(() => cancelling.abort());
    show(...nodes);
    try {
      const report = await askBeforeLeaving(importAll(chat, chosen, { onProgress: tell, signal }));
      show(...reporting(report, () => dialog.close(), () => choose()));
      announce(summary(report));
    } catch (error) {
      const text = signal.aborted ? CANCELLED : failure(error);
      choose(text);
      if (dialog.open) announce(text);
      else toast(text);
    }
    running = null;
    taken();
  };

  dialog.addEventListener("close", () => running?.abort());
  dialog.addEventListener("dragover", () => body.classList.add("over"));
  dialog.addEventListener("dragleave", () => body.classList.remove("over"));
  dialog.addEventListener("drop", (event) => {
    body.classList.remove("over");
    const dropped = [...event.dataTransfer.files];
    if (dropped.length && running === null) offer(dropped);
  });
  if (files.length) offer(files);
  else choose();
}

function choosing(problem, offer) {
  const field = h("input", { type: "file", class: "hidden", accept: ".json,.jsonl,.ndjson,.zip", multiple: true, autofocus: true });
  field.addEventListener("change", () => field.files?.length && offer([...field.files]));
  const sources = Object.entries(SOURCES).flatMap(([name, where]) => [h("dt", { text: name }), h("dd", { text: where })]);
  return [
    problem && h("p", { class: "import-problem", text: problem }),
    h("p", { text: ABOUT }),
    h("label", { class: "drop" }, icon("upload"), h("span", { text: "Choose files, or drop them here" }), field),
    h("dl", { class: "sources" }, ...sources),
  ].filter(Boolean);
}

function offering(files, act, back) {
  const size = sizeOf(files.reduce((sum, file) => sum + file.size, 0));
  const name = files.length === 1 ? files[0].name : count(files.length, "file");
  return [
    h("p", { class: "import-file" }, h("bdi", { text: name }), h("span", { class: "small", text: size })),
    h(
      "div",
      { class: "dialog-row" },
      h("button", { type: "button", class: "secondary", text: "Other files", on: { click: back } }),
      h("button", { type: "button", class: "primary", text: "Import", autofocus: true, on: { click: act } }),
    ),
  ];
}

function progressing(cancel) {
  const text = h("p", { id: "import-state", text: "The upload begins." });
  const bar = h("progress", { max: "100", "aria-labelledby": "import-state" });
  const tell = ({ phase, percent, conversations, number, files }) => {
    if (percent === null) bar.removeAttribute("value");
    else bar.value = percent;
    const found = conversations ? ` ${count(conversations, "conversation")} so far.` : "";
    const which = files === 1 ? "The file" : `File ${number} of ${files}`;
    const is = phase === "upload" ? "uploaded" : "read";
    text.textContent = `${which} is being ${is}${percent === null ? "" : `: ${Math.floor(percent)} %`}.${found}`;
  };
  const button = h("button", { type: "button", class: "secondary", text: "Cancel", autofocus: true, on: { click: cancel } });
  return { nodes: [text, bar, h("div", { class: "dialog-row" }, button)], tell };
}

/** The nodes of each item: what is told of a conversation one after the other has its title once. */
function listing(items, { conversation, why }, place, problems) {
  const reason = h("span", { text: why });
  if (place > 0 && problems[place - 1].conversation === conversation) items.at(-1).push(reason);
  else items.push(conversation === null ? [reason] : [h("bdi", { text: conversation }), reason]);
  return items;
}

function reporting(report, close, again) {
  const { problems, more_problems: more } = report;
  const listed = problems.reduce(listing, []).map((nodes) => h("li", {}, ...nodes));
  const rest = more ? h("p", { class: "small", text: `And ${count(more, "more problem")}.` }) : null;
  return [
    h("p", { text: summary(report) }),
    listed.length && h("h3", { text: PROBLEMS }),
    listed.length && h("ul", { class: "problems", tabindex: "0", "aria-label": PROBLEMS }, ...listed),
    rest,
    h(
      "div",
      { class: "dialog-row" },
      h("button", { type: "button", class: "secondary", text: "More files", on: { click: again } }),
      h("button", { type: "button", class: "primary", text: "Done", autofocus: true, on: { click: close } }),
    ),
  ].filter(Boolean);
}
