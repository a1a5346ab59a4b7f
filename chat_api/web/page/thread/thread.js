// The open conversation: which one it is, and what the reader can do in it.

import { Outbox } from "./outbox.js";
import { Stored } from "./stored.js";
import { Visit } from "./visit.js";

export class Thread extends EventTarget {
  #visit;
  modelTag = ""; // for a new conversation

  /**
   * @param {import("../../client.js").ChatClient} chat
   * @param {import("../sidebar/conversations.js").Conversations} conversations
   * @param {import("./messages.js").Messages} messages
   * @param {import("./follow.js").Follow} follow
   */
  constructor(chat, conversations, messages, follow) {
    super();
    this.chat = chat;
    this.conversations = conversations;
    this.messages = messages;
    this.follow = follow;
    this.outbox = new Outbox(chat, conversations, (id, text) => this.giveBack(id, text));
    this.stored = new Stored(conversations, messages);
    this.#visit = new Visit(this, null);
    addEventListener("pagehide", ({ persisted }) => persisted || this.outbox.close(this.id));
  }

  /** The conversation's id; null: a new conversation, which the first message creates. */
  get id() {
    return this.#visit.id;
  }

  /** Whether a question is being sent, or its answer is being read. */
  get isBusy() {
    return this.#visit.turn.isBusy;
  }

  get isStopping() {
    return this.#visit.turn.isStopping;
  }

  /** @param {string | null} id null: a new conversation, which the first message creates */
  async open(id) {
    this.#visit.leave();
    this.#visit = new Visit(this, id);
    this.changed();
    await this.#visit.open();
  }

  /** @returns {boolean} whether it was taken */
  send(content) {
    return this.#visit.send(content);
  }

  regenerate() {
    this.#visit.regenerate();
  }

  stop() {
    return this.#visit.stop();
  }

  /** Announce a change of something that the page shows. */
  changed() {
    this.dispatchEvent(new Event("change"));
  }

  /** Announce the new conversation's id. */
  created(id) {
    this.dispatchEvent(new CustomEvent("created", { detail: id }));
  }

  /** Return a text to the message box, so that it isn't lost. */
  giveBack(id, text) {
    this.dispatchEvent(new CustomEvent("returned", { detail: { id, text } }));
  }
}
