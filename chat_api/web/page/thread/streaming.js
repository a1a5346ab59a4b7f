// An answer's text while it grows. Finished blocks are rendered once. The last block may still change, so it is
// rendered again, at most once per frame, and less often if that takes long. A long answer costs no more than a short
// one.

import { blocks, render, renderText } from "./markdown.js";

const SHARE = 4; // rendering takes at most a quarter of the time

export class StreamingText {
  #place;
  #tail = document.createElement("div");
  #text = "";
  #settled = 0;
  #frame = 0;
  #timer = 0;
  #notBefore = 0;
  #rendered;

  /**
   * @param {HTMLElement} place the nodes' parent
   * @param {() => void} rendered called after each change of the nodes
   */
  constructor(place, rendered = () => {}) {
    this.#place = place;
    this.#rendered = rendered;
    this.#tail.className = "tail";
    place.replaceChildren(this.#tail);
  }

  get text() {
    return this.#text;
  }

  /** @param {string} token */
  append(token) {
    this.#text += token.replace(/\r\n?/g, "\n"); // marked does this before it counts characters
    this.#schedule();
  }

  /** Start over with this text. */
  reset(text) {
    this.#text = text.replace(/\r\n?/g, "\n");
    this.#settled = 0;
    this.#place.replaceChildren(this.#tail);
    this.#schedule();
  }

  /** No more text will come. */
  finish() {
    this.#cancel();
    // A definition like `[1]: https://…` at the end gives addresses to links in earlier blocks.
    if (/^ {0,3}\[[^\]]+\]:/m.test(this.#text)) this.#place.replaceChildren(renderText(this.#text));
    else {
      this.#tail.before(render(blocks(this.#text.slice(this.#settled))));
      this.#tail.remove();
    }
    this.#rendered();
  }

  #schedule() {
    if (this.#frame || this.#timer) return;
    const wait = this.#notBefore - performance.now();
    if (wait > 0) this.#timer = setTimeout(() => this.#ask(), wait);
    else this.#ask();
  }

  #ask() {
    this.#timer = 0;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#render();
    });
  }

  #cancel() {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#frame = this.#timer = 0;
  }

  #render() {
    const began = performance.now();
    const tokens = blocks(this.#text.slice(this.#settled));
    const open = tokens.findLastIndex((token) => token.type !== "space");
    const finished = tokens.slice(0, Math.max(open, 0));
    if (finished.length) {
      this.#tail.before(render(finished));
      this.#settled += finished.reduce((length, token) => length + token.raw.length, 0);
    }
    this.#tail.replaceChildren(render(tokens.slice(Math.max(open, 0))));
    this.#rendered();
    const now = performance.now();
    this.#notBefore = now + (now - began) * (SHARE - 1);
  }
}
