// What Markdown's nodes get on top: colours and a copy button for code, a frame to scroll wide tables in, and the
// true host beside a link that names another one.

import { h } from "../ui/dom.js";
import { highlighter } from "../ui/libraries.js";
import { clean } from "./markdown.js";

let hljs = null;
const waiting = new Set();

/** @param {DocumentFragment} fragment */
export function decorate(fragment) {
  fragment.querySelectorAll("pre > code").forEach(frameCode);
  fragment.querySelectorAll("table").forEach(frameTable);
  fragment.querySelectorAll("a[href]").forEach(showHost);
}

function frameCode(code) {
  const language = /(?:^|\s)language-([\w+#.-]+)/.exec(code.className)?.[1] ?? "";
  const pre = code.parentElement;
  const copy = h("button", { type: "button", class: "copy-code", icon: "copy", text: "Copy", "data-copy": "code" });
  const frame = h(
    "div",
    { class: "code", role: "group", "aria-label": language ? `Code, ${language}` : "Code" },
    h("div", { class: "code-head" }, h("span", { text: language || "text" }), copy),
  );
  pre.replaceWith(frame);
  pre.tabIndex = 0; // wide code is scrolled by keyboard too
  frame.append(pre);
  if (language) colour(code, language);
}

function colour(code, language) {
  if (!hljs) {
    waiting.add([code, language]);
    if (waiting.size === 1) load();
    return;
  }
  if (!hljs.getLanguage(language)) return;
  code.replaceChildren(clean(hljs.highlight(code.textContent, { language, ignoreIllegals: true }).value));
}

async function load() {
  hljs = await highlighter();
  for (const [code, language] of waiting) if (code.isConnected) colour(code, language);
  waiting.clear();
}

function frameTable(table) {
  const frame = h("div", { class: "table", role: "region", "aria-label": "Table", tabindex: "0" });
  table.replaceWith(frame);
  frame.append(table);
}

// What reads as an address: after a scheme anywhere, or at the beginning. A name and password may stand before the host.
const NAMED = /(?:https?:\/\/|^)(?:[^\s/?#@]*@)?([\p{L}\p{N}_-]+(?:\.[\p{L}\p{N}_-]+)+)(?:[/?#:]|\s|$)/iu;

/**
 * [bank.example](https://evil.example) reads as the one and leads to the other; so do bank.example@evil.example, and
 * letters of another script that look like it.
 */
function showHost(link) {
  const url = new URL(link.href);
  const host = url.hostname || url.pathname.split("@").at(-1); // of a mail
  const text = link.textContent.normalize("NFKC").replace(/\p{Default_Ignorable_Code_Point}/gu, "").trim();
  const named = NAMED.exec(text)?.[1];
  const isDisguised = url.username !== "" || url.password !== "" || /(?:^|\.)xn--/.test(host);
  if (!host || !(isDisguised || (named && bare(named) !== bare(host)))) return;
  link.after(h("span", { class: "link-host", text: ` (${host})` }));
}

const bare = (host) => host.toLowerCase().replace(/^www\./, "");

/** Copy text; where the page has no secure origin, by way of a selection. */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = h("textarea", { class: "hidden", "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("The browser did not copy.");
}
