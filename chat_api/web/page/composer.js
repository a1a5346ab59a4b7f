// The message box: Enter sends, Shift+Enter begins a line; drafts survive a reload; one button sends and stops.

import { icon } from "./icons.js";
import { passing } from "./preferences.js";

const LONGEST = 8000; // characters, as the service counts them
const WARN_FROM = 7000;

export class Composer {
  #form;
  #field;
  #button;
  #count;
  #actions;
  #conversation = null;
  #state = "";

  /**
   * @param {{form: HTMLFormElement, field: HTMLTextAreaElement, button: HTMLButtonElement, count: HTMLElement}} parts
   * @param {{send: (text: string) => boolean, stop: () => void}} actions
   */
  constructor({ form, field, button, count }, actions) {
    this.#form = form;
    this.#field = field;
    this.#button = button;
    this.#count = count;
    this.#actions = actions;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#state === "ready") this.#send();
      else this.#actions.stop();
    });
    field.addEventListener("keydown", (event) => this.#key(event));
    field.addEventListener("input", () => this.#changed());
    form.addEventListener("pointerdown", (event) => {
      if (event.target === form) (event.preventDefault(), field.focus());
    });
  }

  /** @param {string | null} id whose draft is shown */
  show(id) {
    this.#conversation = id;
    this.#field.value = passing.get(this.#draft) ?? "";
    this.#changed();
  }

  /** The conversation has got its id: what is typed from now on belongs to it. */
  adopt(id) {
    passing.set(this.#draft, null);
    this.#conversation = id;
    this.#changed();
  }

  /** @param {"ready" | "answering" | "stopping"} state */
  become(state) {
    if (state !== this.#state) {
      const [name, picture] = { ready: ["Send", "up"], answering: ["Stop", "stop"], stopping: ["Stopping", "stop"] }[state];
      this.#button.setAttribute("aria-label", name);
      this.#button.title = state === "answering" ? "Stop (Esc)" : name;
      this.#button.replaceChildren(icon(picture));
      this.#form.dataset.state = this.#state = state;
    }
    this.#changed();
  }

  /** Take a text back, unless another one is begun. */
  takeBack(text) {
    if (this.#field.value) return;
    this.#field.value = text;
    this.#changed();
  }

  focus() {
    this.#field.focus();
  }

  get #draft() {
    return `draft.${this.#conversation ?? "new"}`;
  }

  #key(event) {
    // A phone's Enter begins a line: it has a button to send, and no Shift at hand.
    const onPhone = matchMedia("(hover: none) and (pointer: coarse)").matches;
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || onPhone) return;
    event.preventDefault();
    if (this.#state === "ready") this.#send();
  }

  #send() {
    const text = this.#field.value.trim();
    if (!text || this.#excess() > 0 || !this.#actions.send(text)) return;
    this.#field.value = "";
    this.#changed();
    this.#field.focus();
  }

  #changed() {
    const text = this.#field.value;
    passing.set(this.#draft, text || null);
    const excess = this.#excess();
    this.#count.hidden = text.length < WARN_FROM;
    this.#count.textContent = excess > 0 ? `${excess} too many` : `${-excess} left`;
    this.#form.classList.toggle("too-long", excess > 0);
    this.#button.disabled = this.#state === "stopping" || (this.#state === "ready" && (!text.trim() || excess > 0));
    this.#field.style.height = "auto"; // grows with its text, up to the style sheet's limit
    this.#field.style.height = `${this.#field.scrollHeight}px`;
  }

  /** How many characters are too many; negative: how many are left. */
  #excess() {
    const text = this.#field.value.trim();
    return (text.length < WARN_FROM ? text.length : Array.from(text).length) - LONGEST;
  }
}
