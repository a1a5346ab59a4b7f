// The messages that wait for their turn, above the message box.

import { h, iconButton } from "../ui/dom.js";

export class Queue {
  #place;
  #takeBack;
  #stored = [];
  #sending = []; // on their way to the service

  /** @param {HTMLElement} place @param {(message: {id: string, content: string}) => void} takeBack */
  constructor(place, takeBack) {
    this.#place = place;
    this.#takeBack = takeBack;
  }

  get isEmpty() {
    return this.#stored.length + this.#sending.length === 0;
  }

  /** The texts that the service may not have. */
  get unsent() {
    return this.#sending.map(({ content }) => content);
  }

  /** Show what waits in the open conversation. @param {{id: string, content: string}[]} messages */
  show(messages) {
    const isSame = messages.length === this.#stored.length && messages.every(({ id }, place) => id === this.#stored[place].id);
    this.#stored = messages;
    if (!isSame) this.#draw();
  }

  /** Show a message that is on its way. @returns {() => void} hides it */
  send(content) {
    const message = { id: null, content };
    this.#sending.push(message);
    this.#draw();
    return () => {
      this.#sending = this.#sending.filter((each) => each !== message);
      this.#draw();
    };
  }

  /** @param {{id: string, content: string}} message */
  add(message) {
    if (!this.#stored.some(({ id }) => id === message.id)) this.show([...this.#stored, message]);
  }

  /** @param {string} messageId */
  remove(messageId) {
    this.show(this.#stored.filter(({ id }) => id !== messageId));
  }

  /** Another conversation is opened. */
  clear() {
    this.#stored = [];
    this.#sending = [];
    this.#draw();
  }

  #draw() {
    this.#place.hidden = this.isEmpty;
    this.#place.replaceChildren(...[...this.#stored, ...this.#sending].map((message) => this.#row(message)));
    this.#place.scrollTop = this.#place.scrollHeight;
  }

  #row(message) {
    const takeBack = () => this.#takeBack(message);
    return h(
      "li",
      { class: "waiting-message", "aria-busy": message.id === null ? "true" : null },
      h("span", { dir: "auto", text: message.content, title: message.content }),
      message.id !== null && iconButton("close", "Take this message back", takeBack),
    );
  }
}
