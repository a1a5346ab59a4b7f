// An answer's text while it grows. Finished blocks are parsed once and stay; the last one, which may still change, is
// made anew, at most once a frame, and less often where that takes long. So a long answer costs no more than a short
// one.

import { blocks, render, renderText } from "./markdown.js";

const SHARE = 4; // of the time, rendering takes a quarter at most

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
   * @param {HTMLElement} place where the nodes go
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
    this.#text += token.replace(/\r\n?/g, "\n"); // marked does so, and counts characters after it
    this.#schedule();
  }

  /** Begin anew with this text. */
  reset(text) {
    this.#text = text.replace(/\r\n?/g, "\n");
    this.#settled = 0;
    this.#place.replaceChildren(this.#tail);
    this.#schedule();
  }

  /** Nothing comes any more. */
  finish() {
    this.#cancel();
    // [1]: https://… at the end gives links further up their address.
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
