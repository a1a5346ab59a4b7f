// Code in an answer: a frame with its language and a copy button, and syntax highlighting.

import { h } from "../ui/dom.js";
import { highlighter } from "../ui/libraries.js";
import { sanitise } from "./sanitise.js";

let hljs = null;
const waiting = new Set();

/** Put code into a frame. @param {HTMLElement} code */
export function frameCode(code) {
  const language = /(?:^|\s)language-([\w+#.-]+)/.exec(code.className)?.[1] ?? "";
  const pre = code.parentElement;
  const copy = h("button", { type: "button", class: "copy-code", icon: "copy", text: "Copy", "data-copy": "code" });
  const frame = h(
    "div",
    { class: "code", role: "group", "aria-label": language ? `Code, ${language}` : "Code" },
    h("div", { class: "code-head" }, h("span", { text: language || "text" }), copy),
  );
  pre.replaceWith(frame);
  pre.tabIndex = 0; // so that wide code can be scrolled by keyboard
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
  code.replaceChildren(sanitise(hljs.highlight(code.textContent, { language, ignoreIllegals: true }).value));
}

async function load() {
  hljs = await highlighter();
  for (const [code, language] of waiting) if (code.isConnected) colour(code, language);
  waiting.clear();
}
