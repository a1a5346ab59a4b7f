// What a model thought before it answered, folded. It is rendered only once the reader opens it, because it may be
// many times as long as the answer.

import { h } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { renderText } from "./markdown.js";
import { StreamingText } from "./streaming.js";

export class ThinkingView {
  #label = h("span");
  #body = h("div", { class: "prose" });
  #text = "";
  #isLive = false;
  #stream = null; // renders what is being thought, once it was opened
  #isDrawn = false;
  #since = null; // when this stretch of thinking began; null: not seen from its beginning
  #milliseconds = 0;

  element = h(
    "details",
    { class: "thinking", hidden: true, on: { toggle: () => this.element.open && this.#draw() } },
    h("summary", {}, icon("chevron"), this.#label),
  );

  get text() {
    return this.#text;
  }

  /** @param {string} piece @param {boolean} isTimed whether it is shown as it is thought, so that its time can be told */
  append(piece, isTimed) {
    if (!this.#isLive) {
      this.#isLive = true;
      this.#since = isTimed ? performance.now() : null;
      this.#isDrawn = false;
      this.element.classList.add("live");
      this.#label.textContent = "Thinking…";
    }
    this.#text += piece;
    this.#show();
    if (this.#isDrawn) this.#stream.append(piece);
    else if (this.element.open) this.#draw();
  }

  /** The model no longer thinks, at least for now. */
  pause() {
    if (!this.#isLive) return;
    this.#isLive = false;
    this.element.classList.remove("live");
    if (this.#since !== null) this.#milliseconds += performance.now() - this.#since;
    this.#label.textContent = this.#milliseconds ? `Thought for ${duration(this.#milliseconds)}` : "Thinking";
    this.#stream?.finish();
    this.#stream = null;
  }

  /** Show this instead. */
  set(text) {
    if (text === this.#text) return;
    this.#milliseconds = 0;
    this.#since = null;
    this.pause();
    this.#text = text;
    this.#label.textContent = "Thinking";
    this.#isDrawn = false;
    this.#show();
    if (this.element.open) this.#draw();
  }

  /** Some servers think a line break. */
  #show() {
    this.element.hidden = !this.#text.trim();
  }

  #draw() {
    if (this.#isDrawn) return;
    this.#isDrawn = true;
    this.element.append(this.#body);
    if (!this.#isLive) this.#body.replaceChildren(renderText(this.#text));
    else {
      this.#stream = new StreamingText(this.#body);
      this.#stream.reset(this.#text);
    }
  }
}

function duration(milliseconds) {
  const seconds = Math.max(Math.round(milliseconds / 1000), 1);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
