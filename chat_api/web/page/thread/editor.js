// The field in which a question is edited, in the question's place. Enter sends, Escape cancels.

import { h } from "../ui/dom.js";
import { WARN_FROM, excess, grow, isBlank, isOnPhone } from "./limits.js";

export class Editor {
  #field;
  #count = h("span", { class: "count", role: "status", hidden: true });
  #save = h("button", { type: "submit", class: "primary", text: "Save" });
  #isLocked = false;
  #calls;

  /**
   * @param {string} text
   * @param {{changed: (text: string) => void, save: (text: string) => void, cancel: () => void}} calls
   */
  constructor(text, calls) {
    this.#calls = calls;
    this.#field = h("textarea", { class: "edit-field", "aria-label": "Your message", dir: "auto", rows: "1" });
    this.#field.value = text;
    const cancel = h("button", { type: "button", class: "secondary", text: "Cancel", on: { click: () => calls.cancel() } });
    const submit = (event) => {
      event.preventDefault();
      this.#send();
    };
    const row = h("div", { class: "edit-row" }, this.#count, cancel, this.#save);
    this.element = h("form", { class: "edit", "aria-label": "Edit your message", on: { submit } }, this.#field, row);
    this.#field.addEventListener("input", () => {
      calls.changed(this.#field.value);
      this.#changed();
    });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.#changed();
    requestAnimationFrame(() => grow(this.#field)); // it is on the page then
  }

  get text() {
    return this.#field.value;
  }

  focus() {
    this.#field.focus();
    this.#field.setSelectionRange(this.#field.value.length, this.#field.value.length);
  }

  /** While an answer is written, it can't be sent. */
  lock(isLocked) {
    this.#isLocked = isLocked;
    this.#changed();
  }

  #key(event) {
    if (event.isComposing) return;
    if (event.key === "Escape" && !event.shiftKey) this.#calls.cancel();
    else if (event.key === "Enter" && event.target === this.#field && !event.shiftKey && !isOnPhone()) this.#send();
    else return;
    event.preventDefault(); // so no shortcut of the page takes it
  }

  #send() {
    if (!this.#save.disabled) this.#calls.save(this.#field.value.trim());
  }

  #changed() {
    const text = this.#field.value;
    const over = excess(text);
    this.#count.hidden = text.length < WARN_FROM;
    this.#count.textContent = over > 0 ? `${over} too many` : `${-over} left`;
    this.element.classList.toggle("too-long", over > 0);
    this.#save.disabled = this.#isLocked || isBlank(text) || over > 0;
    grow(this.#field);
  }
}
