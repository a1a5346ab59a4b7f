// What is shown where there are no messages.

import { h } from "../ui/dom.js";
import { icon } from "../ui/icons.js";

const SUGGESTIONS = [
  ["Explain", "why the sky is blue, to a curious child"],
  ["Write", "a Python function that finds prime numbers"],
  ["Compare", "masala chai and earl grey, in a table"],
  ["Plan", "a quiet weekend in a small town"],
];

/** A greeting with suggestions. @param {(text: string) => void} suggest */
export function greeting(suggest) {
  const cards = SUGGESTIONS.map(([verb, rest]) => {
    const click = () => suggest(`${verb} ${rest}`);
    return h("button", { type: "button", class: "suggestion", on: { click } }, h("strong", { text: verb }), ` ${rest}`);
  });
  const words = h("p", { class: "greeting", text: "What's on your mind?" });
  return h("div", { class: "welcome" }, words, h("div", { class: "suggestions" }, ...cards));
}

/** The conversation is loading. This fades in late, so that a quick load doesn't flicker. */
export function loading() {
  const block = (name) => h("div", { class: `skeleton-block ${name}` });
  const blocks = [block("short"), block("long"), block("short"), block("long")];
  return h("div", { class: "skeleton", role: "status", "aria-label": "Loading the conversation" }, ...blocks);
}

/** Why there are no messages. @param {string} text @param {string} action @param {() => void} act */
export function apology(text, action, act) {
  const button = h("button", { type: "button", class: "secondary", text: action, on: { click: act } });
  return h("div", { class: "apology", role: "alert" }, icon("warning"), h("p", { text }), button);
}
