// The dialog that brings in a file: which one, how far it is, and what wasn't taken.

import { announce } from "../ui/announcer.js";
import { openDialog } from "../ui/dialogs.js";
import { h } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { ABOUT, CANCELLED, count, failure, SOURCES, summary } from "./import-words.js";
import { askBeforeLeaving } from "./leaving.js";
import { sizeOf } from "./sizes.js";

/**
 * @param {import("../../client.js").ChatClient} chat
 * @param {File | null} file the one that is offered
 * @param {() => void} taken called when conversations may have been added
 */
export function openImport(chat, file, taken) {
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
      const report = await askBeforeLeaving(chat.import(chosen, { onProgress: tell, signal }));
      show(...reporting(report, () => dialog.close(), () => choose()));
      announce(summary(report));
    } catch (error) {
      const text = signal.aborted ? CANCELLED : failure(error);
      choose(text);
      announce(text);
    }
    running = null;
    taken();
  };

  dialog.addEventListener("close", () => running?.abort());
  dialog.addEventListener("dragover", () => body.classList.add("over"));
  dialog.addEventListener("dragleave", () => body.classList.remove("over"));
  dialog.addEventListener("drop", (event) => {
    body.classList.remove("over");
    const [dropped] = event.dataTransfer.files;
    if (dropped && running === null) offer(dropped);
  });
  if (file) offer(file);
  else choose();
}

function choosing(problem, offer) {
  const field = h("input", { type: "file", class: "hidden", accept: ".json,.jsonl,.ndjson,.zip", autofocus: true });
  field.addEventListener("change", () => field.files?.[0] && offer(field.files[0]));
  const sources = Object.entries(SOURCES).flatMap(([name, where]) => [h("dt", { text: name }), h("dd", { text: where })]);
  return [
    problem && h("p", { class: "import-problem", text: problem }),
    h("p", { text: ABOUT }),
    h("label", { class: "drop" }, icon("upload"), h("span", { text: "Choose a file, or drop it here" }), field),
    h("dl", { class: "sources" }, ...sources),
  ].filter(Boolean);
}

function offering(file, act, back) {
  return [
    h("p", { class: "import-file" }, h("bdi", { text: file.name }), h("span", { class: "small", text: sizeOf(file.size) })),
    h(
      "div",
      { class: "dialog-row" },
      h("button", { type: "button", class: "secondary", text: "Another file", on: { click: back } }),
      h("button", { type: "button", class: "primary", text: "Import", autofocus: true, on: { click: act } }),
    ),
  ];
}

function progressing(cancel) {
  const text = h("p", { id: "import-state", text: "The file is being uploaded." });
  const bar = h("progress", { max: "100", "aria-labelledby": "import-state" });
  const tell = ({ phase, percent, conversations }) => {
    bar.value = percent;
    const found = conversations ? ` ${count(conversations, "conversation")} so far.` : "";
    const shown = `${Math.floor(percent)} %`;
    const is = phase === "upload" ? "uploaded" : "read";
    text.textContent = `The file is being ${is}: ${shown}.${found}`;
  };
  const button = h("button", { type: "button", class: "secondary", text: "Cancel", autofocus: true, on: { click: cancel } });
  return { nodes: [text, bar, h("div", { class: "dialog-row" }, button)], tell };
}

function reporting(report, close, again) {
  const { problems, more_problems: more } = report;
  const listed = problems.map(({ conversation, why }) => {
    return h("li", {}, h("bdi", { text: conversation }), h("span", { text: why }));
  });
  const rest = more ? h("p", { class: "small", text: `And ${count(more, "more problem")}.` }) : null;
  return [
    h("p", { text: summary(report) }),
    listed.length && h("h3", { text: "What wasn't taken, and why" }),
    listed.length && h("ul", { class: "problems", tabindex: "0", "aria-label": "What wasn't taken, and why" }, ...listed),
    rest,
    h(
      "div",
      { class: "dialog-row" },
      h("button", { type: "button", class: "secondary", text: "Another file", on: { click: again } }),
      h("button", { type: "button", class: "primary", text: "Done", autofocus: true, on: { click: close } }),
    ),
  ].filter(Boolean);
}
