import { newKey } from "../client/address.js";

/**
 * What was asked here or elsewhere, with its answer, until the stored messages have both.
 *
 * `content`: the question, if it is one. `after`: the message that it comes after; null: none; undefined: the last.
 * `replaces`: the answer that is done again. `isResults`: results of tool calls were sent. `ask` sends
 * it, if it is this page's. `creation`: what its conversation is created with, if there is none yet.
 */
export class Turn {
  key = newKey(); // also the idempotency key
  answer = null;
  userMessageId = null;
  messageId = null; // of the stored answer
  finishReason = null;
  usage = null;
  error = null; // why it was refused
  isOver = false; // nothing more comes

  /**
   * @param {{content?: string | null, after?: string | null, replaces?: any, isResults?: boolean, creation?: any,
   *          ask?: ((id: string, key: string) => import("../client.js").Answer) | null}} [asked]
   */
  constructor({ content = null, after, replaces = null, isResults = false, creation, ask = null } = {}) {
    this.content = content;
    this.after = after;
    this.replaces = replaces;
    this.isResults = isResults;
    this.creation = creation;
    this.ask = ask;
    /** Resolves when it has begun or will not begin: to whether the service has it. @type {Promise<boolean>} */
    this.taken = new Promise((resolve) => (this.take = resolve));
  }

  get hasBegun() {
    return this.userMessageId !== null;
  }

  get isFailed() {
    return this.error !== null;
  }

  get isRunning() {
    return !this.isOver && !this.isFailed;
  }

  /** @param {any} event */
  hear(event) {
    if (event.type === "start") {
      this.userMessageId = event.user_message_id;
      this.take(true);
    } else if (event.type === "done") {
      this.messageId = event.message_id;
      this.finishReason = event.finish_reason;
      this.usage = event.usage;
    }
  }

  /** It won't be answered. @param {unknown} error */
  fail(error) {
    this.error = error;
    this.take(false);
  }

  /** Nothing more comes. */
  end() {
    this.isOver = true;
    this.take(this.hasBegun);
  }

  /** Try again what was refused: the service stores it once. */
  again() {
    this.error = null;
    this.taken = new Promise((resolve) => (this.take = resolve));
  }
}
