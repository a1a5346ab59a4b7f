// The tool calls of an answer, and their results. The page runs none: the programs that gave the tools do.

import { h } from "../ui/dom.js";
import { icon } from "../ui/icons.js";

export class CallsView {
  #calls = new Map(); // by index
  #results = 0;
  #shown = "";

  element = h("ul", { class: "calls", "aria-label": "Tool calls", hidden: true });

  get isEmpty() {
    return this.#calls.size === 0;
  }

  /** Whether the answer waits for a result. */
  get isOpen() {
    return this.#results < this.#calls.size;
  }

  get hasResults() {
    return this.#results > 0;
  }

  /** Add a piece of a call. Its arguments are shown as they were written: reading JSON would change large numbers. */
  add({ index, id, name, arguments: more = "" }) {
    if (!this.#calls.has(index)) this.#begin(index);
    this.#shown = "";
    const call = this.#calls.get(index);
    call.id ||= id ?? "";
    if (name && !call.name.textContent) call.name.textContent = name;
    call.written.appendData(more);
  }

  /** Show these instead. @param {any[]} calls @param {{tool_call_id: string, content: string}[]} [results] */
  set(calls, results = []) {
    const shown = JSON.stringify([calls, results]);
    if (shown === this.#shown) return; // what the reader has opened stays open
    this.#calls.clear();
    this.#results = 0;
    this.element.replaceChildren();
    this.element.hidden = true;
    calls.forEach((call, index) => this.add({ index, ...call }));
    this.#shown = shown;
    for (const { tool_call_id: id, content } of results) {
      const call = [...this.#calls.values()].find((each) => each.id === id && !each.hasResult);
      if (call) this.#answer(call, content);
    }
  }

  #begin(index) {
    const name = h("bdi", { class: "call-name" });
    const written = document.createTextNode("");
    const element = h(
      "li",
      { class: "call" },
      h("div", { class: "call-head" }, icon("tool"), h("span", { class: "hidden", text: "Tool call: " }), name),
      h("pre", { tabindex: "0", "aria-label": "Arguments", role: "group" }, written),
    );
    this.#calls.set(index, { id: "", name, written, element, hasResult: false });
    this.element.append(element);
    this.element.hidden = false;
  }

  #answer(call, content) {
    call.hasResult = true;
    this.#results++;
    call.element.append(
      h(
        "details",
        {},
        h("summary", {}, icon("chevron"), h("span", { text: "Result" })),
        h("pre", { tabindex: "0", "aria-label": "Result", role: "group", text: content }),
      ),
    );
  }
}

/**
 * The messages that are shown on their own. Each has the results of its tool calls, which come after it, and `isPast`:
 * whether another one follows.
 */
export function withResults(messages) {
  const shown = [];
  for (const message of messages) {
    if (message.role === "tool") shown.at(-1)?.results.push(message);
    else shown.push({ ...message, results: [], isPast: true });
  }
  if (shown.length) shown.at(-1).isPast = false;
  return shown;
}
