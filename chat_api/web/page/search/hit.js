// A message that was found: where, when, and a piece of its text with the words marked.

import { h } from "../ui/dom.js";

const MARKED = /«([^«»]*)»/g;

/**
 * @param {any} hit
 * @param {string} title of its conversation
 * @param {(hit: any) => void} open
 */
export function hitRow(hit, title, open) {
  const { conversation, message_id: messageId, snippet, created_at: at } = hit;
  const click = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return; // in another tab or window
    event.preventDefault();
    open(hit);
  };
  return h(
    "li",
    { class: "hit" },
    h(
      "a",
      { class: "hit-link", href: `#/${conversation.id}/${messageId}`, on: { click } },
      h(
        "span",
        { class: "hit-head" },
        h("span", { class: "hit-title", dir: "auto", text: title }),
        h("time", { datetime: at, text: dayOf(new Date(at)) }),
      ),
      h("span", { class: "hit-snippet", dir: "auto" }, ...marked(snippet)),
    ),
  );
}

/** A text as nodes, with what stands between « and » as marks. @param {string} snippet @returns {(Node | string)[]} */
export function marked(snippet) {
  // What was in brackets is every second piece.
  return snippet.split(MARKED).map((piece, place) => (place % 2 ? h("mark", { text: piece }) : piece));
}

function dayOf(date) {
  const isThisYear = date.getFullYear() === new Date().getFullYear();
  return date.toLocaleDateString("en", { day: "numeric", month: "short", ...(isThisYear ? {} : { year: "numeric" }) });
}
