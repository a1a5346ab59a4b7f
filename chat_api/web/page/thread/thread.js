// The open conversation: which one it is, and what the reader can do in it.

import { Outbox } from "./outbox.js";
import { Queue } from "./queue.js";
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
   * @param {HTMLElement} waiting where the messages that wait are shown
   */
  constructor(chat, conversations, messages, follow, waiting) {
    super();
    this.chat = chat;
    this.conversations = conversations;
    this.messages = messages;
    this.follow = follow;
    this.outbox = new Outbox(chat, conversations, (id, text) => this.giveBack(id, text));
    this.queue = new Queue(waiting, (message) => this.#visit.waiting.takeBack(message));
    this.stored = new Stored(conversations, messages);
    this.#visit = new Visit(this, null);
    addEventListener("pagehide", ({ persisted }) => persisted || this.#close());
  }

  /** The conversation's id; null: a new conversation, which the first message creates. */
  get id() {
    return this.#visit.id;
  }

  /** Whether a question is being sent, or its answer is being read. */
  get isBusy() {
    return this.#visit.turn.isBusy;
  }

  /** Whether nothing can be changed now. */
  get isLocked() {
    return this.#visit.isLocked;
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

  /** @param {import("./question.js").QuestionView} view @returns {boolean} whether it was taken */
  edit(view, content) {
    const { isFree } = this.#visit;
    if (isFree) this.#visit.asking.edit(view, content);
    return isFree;
  }

  /** @param {import("./answer.js").AnswerView} [view] the answer; left out: the last one */
  regenerate(view) {
    if (this.#visit.isFree) this.#visit.asking.regenerate(view);
  }

  /** @param {import("./answer.js").AnswerView} view an answer that was cut */
  goOn(view) {
    if (this.#visit.isFree) this.#visit.asking.goOn(view);
  }

  /** Show another version of a message. @param {string} messageId @param {number} step -1: an older one */
  async switchTo(messageId, step) {
    const button = /** @type {HTMLElement} */ (document.activeElement);
    this.follow.stay();
    await this.#visit.change(() => this.chat.conversations.switchTo(this.id, messageId));
    const view = this.messages.find(messageId);
    if (view) view.focusVersions(step);
    else button.focus(); // it failed
  }

  /** Delete a message and what comes after it. @param {string} messageId */
  async takeBack(messageId) {
    this.follow.stay();
    await this.#visit.change(() => this.chat.conversations.takeBack(this.id, messageId));
  }

  stop() {
    return this.#visit.stop();
  }

  /** The page is left: what the service may not have returns to the message box. */
  #close() {
    this.outbox.close(this.id);
    for (const text of this.queue.unsent.reverse()) this.giveBack(this.id, text);
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
