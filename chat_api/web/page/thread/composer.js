// The message box: Enter sends, Shift+Enter begins a line; drafts survive a reload; one button sends and stops.

import { passing } from "../reader/preferences.js";
import { icon } from "../ui/icons.js";

const LONGEST = 8000; // characters, as the service counts them
const WARN_FROM = 7000;
const DOUBLE_CLICK_MS = 600; // Stop comes to where Send was: a second click was not meant for it

export class Composer {
  #form;
  #field;
  #button;
  #count;
  #actions;
  #conversation = null;
  #state = "";
  #sentAt = -Infinity;

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
      else this.#stop();
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

  /** A text was not sent: it goes before what is written in its conversation by now. @param {string | null} id */
  takeBack(id, text) {
    const draft = `draft.${id ?? "new"}`;
    passing.set(draft, [text, passing.get(draft)].filter(Boolean).join("\n\n"));
    if (id === this.#conversation) this.show(id);
  }

  focus() {
    this.#field.focus();
  }

  get #draft() {
    return `draft.${this.#conversation ?? "new"}`;
  }

  #key(event) {
    // A phone's Enter begins a line: it has a button to send, and no Shift at hand.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || isOnPhone()) return;
    event.preventDefault();
    if (this.#state === "ready") this.#send();
  }

  #send() {
    const text = this.#field.value.trim();
    if (isBlank(text) || this.#excess() > 0 || !this.#actions.send(text)) return;
    this.#sentAt = performance.now();
    setTimeout(() => this.#changed(), DOUBLE_CLICK_MS);
    this.#field.value = "";
    this.#changed();
    this.#field.focus();
  }

  #stop() {
    if (this.#isJustSent) return;
    this.#actions.stop();
    if (!isOnPhone()) this.#field.focus(); // the button that had it is disabled until the answer has ended
  }

  get #isJustSent() {
    return performance.now() - this.#sentAt < DOUBLE_CLICK_MS;
  }

  #changed() {
    const text = this.#field.value;
    passing.set(this.#draft, text || null);
    const excess = this.#excess();
    this.#count.hidden = text.length < WARN_FROM;
    this.#count.textContent = excess > 0 ? `${excess} too many` : `${-excess} left`;
    this.#form.classList.toggle("too-long", excess > 0);
    const unready = { ready: isBlank(text) || excess > 0, answering: this.#isJustSent, stopping: true };
    this.#button.disabled = unready[this.#state];
    this.#field.style.height = "auto"; // grows with its text, up to the style sheet's limit
    this.#field.style.height = `${this.#field.scrollHeight}px`;
  }

  /** How many characters are too many; negative: how many are left. */
  #excess() {
    const text = this.#field.value.trim();
    return (text.length < WARN_FROM ? text.length : Array.from(text).length) - LONGEST;
  }
}

const isOnPhone = () => matchMedia("(hover: none) and (pointer: coarse)").matches;

/** Whether nothing of it would be seen: spaces, zero-width characters, joiners without anything to join. */
const isBlank = (text) => !/[^\s\p{Default_Ignorable_Code_Point}\p{Cf}\p{Cc}\u2800]/u.test(text);
