// The message box. Enter sends, Shift+Enter starts a new line, drafts survive a reload, one button sends and stops.

import { passing } from "../reader/preferences.js";
import { icon } from "../ui/icons.js";
import { WARN_FROM, excess, grow, isBlank, isOnPhone } from "./limits.js";

const DOUBLE_CLICK_MS = 600; // Stop replaces Send, but the second click of a double click isn't meant for it

export class Composer {
  #form;
  #field;
  #button;
  #later;
  #count;
  #actions;
  #conversation = null;
  #state = "";
  #sentAt = -Infinity;

  /**
   * @param {{form: HTMLFormElement, field: HTMLTextAreaElement, button: HTMLButtonElement, later: HTMLButtonElement,
   *          count: HTMLElement}} parts `later`: sends while an answer comes
   * @param {{send: (text: string) => boolean, stop: () => void}} actions
   */
  constructor({ form, field, button, later, count }, actions) {
    this.#form = form;
    this.#field = field;
    this.#button = button;
    this.#later = later;
    this.#count = count;
    this.#actions = actions;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#state === "ready") this.#send();
      else this.#stop();
    });
    later.addEventListener("click", () => this.#send());
    field.addEventListener("keydown", (event) => this.#key(event));
    field.addEventListener("input", () => this.#changed());
    form.addEventListener("pointerdown", (event) => {
      if (event.target === form) (event.preventDefault(), field.focus());
    });
  }

  /** @param {string | null} id the conversation whose draft is shown */
  show(id) {
    this.#conversation = id;
    this.#field.value = passing.get(this.#draft) ?? "";
    this.#changed();
  }

  /** The new conversation has its id: the draft belongs to it from now on. */
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

  /** A text was not sent: put it before the conversation's draft. @param {string | null} id the conversation */
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
    // On a phone, Enter starts a new line: Shift is hard to reach, and there is a button to send.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || isOnPhone()) return;
    event.preventDefault();
    this.#send();
  }

  #send() {
    const text = this.#field.value.trim();
    const isFirst = this.#state === "ready"; // else Stop has been there for a while
    if (isBlank(text) || excess(text) > 0 || !this.#actions.send(text)) return;
    if (isFirst) this.#sentAt = performance.now();
    setTimeout(() => this.#changed(), DOUBLE_CLICK_MS);
    this.#field.value = "";
    this.#changed();
    this.#field.focus();
  }

  #stop() {
    if (this.#isJustSent) return;
    this.#actions.stop();
    if (!isOnPhone()) this.#field.focus(); // the button that had the focus is disabled until the answer has ended
  }

  get #isJustSent() {
    return performance.now() - this.#sentAt < DOUBLE_CLICK_MS;
  }

  #changed() {
    const text = this.#field.value;
    passing.set(this.#draft, text || null);
    const over = excess(text);
    this.#count.hidden = text.length < WARN_FROM;
    this.#count.textContent = over > 0 ? `${over} too many` : `${-over} left`;
    this.#form.classList.toggle("too-long", over > 0);
    const unready = { ready: isBlank(text) || over > 0, answering: this.#isJustSent, stopping: true };
    this.#button.disabled = unready[this.#state];
    this.#later.hidden = this.#state === "ready" || isBlank(text);
    this.#later.disabled = over > 0;
    grow(this.#field);
  }
}
