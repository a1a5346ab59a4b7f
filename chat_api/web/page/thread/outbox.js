// Sends questions. Each becomes one message, however often it is sent, and its text isn't lost.

import { isUnreachable, networkIsBack } from "../reader/network.js";

const TRIES = 3; // after the browser says that the network is back, which is a little early

export class Outbox {
  #chat;
  #conversations;
  #giveBack;
  #unsent = ""; // a question that the service doesn't have, and that isn't being sent
  #creating = null; // the signal of the visit whose conversation is being created

  /**
   * @param {import("../../client.js").ChatClient} chat
   * @param {import("../sidebar/conversations.js").Conversations} conversations
   * @param {(id: string | null, text: string) => void} giveBack called with a text that wasn't sent
   */
  constructor(chat, conversations, giveBack) {
    this.#chat = chat;
    this.#conversations = conversations;
    this.#giveBack = (/** @type {string | null} */ id, /** @type {string} */ text) => text && giveBack(id, text);
  }

  /** Whether a new conversation is being created for a question. */
  get isCreating() {
    return this.#creating !== null;
  }

  /** Whether a question that was refused stands in the thread. */
  get hasUnsent() {
    return this.#unsent !== "";
  }

  /**
   * Send a question. First create its conversation if there is none. Rejects with a ChatError if the conversation
   * can't be created.
   *
   * @param {string} content
   * @param {{id: string | null, key: string, parentId?: string | null, modelTag: string, signal: AbortSignal, isPast: () => boolean,
   *          created: (id: string) => void}} visit
   *   `key` makes it one message. `signal` ends the wait for a network. `isPast`: whether the visit has ended.
   * @returns {Promise<import("../../client.js").Answer>}
   */
  async send(content, { id, key, parentId, modelTag, signal, isPast, created }) {
    this.#unsent = "";
    if (id === null) {
      this.#unsent = content;
      try {
        ({ id } = await this.#create(modelTag, signal));
      } catch (error) {
        if (isPast()) this.#giveBack(null, content);
        throw error;
      }
      if (!isPast()) {
        this.#unsent = "";
        created(id);
      }
    }
    this.#conversations.touch(id, content);
    return this.#chat.send(id, content, { idempotencyKey: key, parentId });
  }

  /** Keep a question that was refused. */
  keep(content) {
    this.#unsent = content;
  }

  /** Return an unsent question, because the reader leaves the page. @param {string | null} id the open conversation */
  close(id) {
    this.#giveBack(id, this.#unsent);
  }

  /** Return an unsent question, which is no longer shown. @param {string | null} id */
  leave(id) {
    if (!this.isCreating) this.#giveBack(id, this.#unsent); // otherwise `send` returns it if creating fails
    this.#unsent = "";
    this.#creating = null;
  }

  /** Create a conversation. If the browser is offline, wait for a network. */
  async #create(modelTag, signal) {
    this.#creating = signal;
    try {
      for (let tries = 0; ; tries--) {
        const wasOnline = navigator.onLine; // the network may return before a request sent without it has failed
        try {
          return await this.#conversations.create(modelTag);
        } catch (error) {
          if (!wasOnline || !navigator.onLine) tries = TRIES;
          if (!isUnreachable(error) || signal.aborted || tries <= 0) throw error;
          if (wasOnline || !navigator.onLine) await networkIsBack(signal);
          if (signal.aborted) throw error;
        }
      }
    } finally {
      if (this.#creating === signal) this.#creating = null;
    }
  }
}
