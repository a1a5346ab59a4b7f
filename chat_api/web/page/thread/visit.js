// A visit to a conversation, until another one is opened: loads it, reads answers to their end, and stops them. Results
// that arrive after the visit are dropped.

import { isUnreachable, networkIsBack } from "../reader/network.js";
import { toast } from "../ui/toast.js";
import { Asking } from "./asking.js";
import { Delivery } from "./delivery.js";
import { Others } from "./reading.js";
import { Turn } from "./turn.js";
import { Waiting } from "./waiting.js";

export class Visit {
  #thread;
  #chat;
  #messages;
  #others;
  #isChanging = false;
  #waiting = new AbortController(); // ends the wait for a network
  isPast = false;

  /** @param {import("./thread.js").Thread} thread @param {string | null} id */
  constructor(thread, id) {
    this.#thread = thread;
    this.#chat = thread.chat;
    this.#messages = thread.messages;
    this.#others = new Others(thread.chat, {
      join: (answer) => this.join(answer),
      changed: (conversation) => this.#changed(conversation),
    });
    this.asking = new Asking(thread, this);
    this.delivery = new Delivery(thread, this);
    this.waiting = new Waiting(thread, this);
    this.turn = new Turn(thread.chat, () => thread.changed());
    this.id = id;
  }

  /** Ends the wait for a network when the visit ends. */
  get signal() {
    return this.#waiting.signal;
  }

  /** Whether nothing can be changed now: an answer is being written, or something else changes. */
  get isLocked() {
    return this.turn.isBusy || this.#isChanging;
  }

  /** Whether the conversation is stored and can be changed. */
  get isFree() {
    return this.id !== null && !this.isLocked;
  }

  async open() {
    if (this.id === null) {
      this.#messages.welcome();
      return;
    }
    this.#messages.wait();
    this.#thread.stored.showKnown(this.id);
    this.#thread.follow.toEnd();
    await this.#load();
  }

  leave() {
    this.isPast = true;
    this.#thread.outbox.leave(this.id);
    this.#thread.queue.clear();
    this.#waiting.abort();
    this.#others.leave();
    this.turn.leave();
  }

  /** @returns {boolean} whether it was taken */
  send(content) {
    const mustWait = this.turn.isBusy || !this.#thread.queue.isEmpty;
    if (this.#isChanging || (mustWait && this.id === null)) return false;
    if (mustWait) this.waiting.send(content);
    else this.asking.send(content);
    return true;
  }

  async stop() {
    if (!this.turn.isBusy) return;
    if (this.#thread.outbox.isCreating) this.#waiting.abort();
    await this.turn.stop(this.id);
  }

  /** Change which messages there are, or which of them are shown. @param {() => Promise<any>} change */
  async change(change) {
    if (!this.isFree) return;
    this.#isChanging = true;
    this.#thread.changed();
    try {
      await change();
    } catch (error) {
      if (!this.isPast) toast(error.message);
    }
    if (!this.isPast) await this.settle();
    this.#isChanging = false;
    this.#thread.changed();
  }

  /** Show the stored conversation, and its running answer if there is one. */
  async #load() {
    let conversation;
    try {
      conversation = await this.#chat.conversations.get(this.id);
    } catch (error) {
      if (this.isPast) return;
      this.#apologise(error);
      if (isUnreachable(error)) await networkIsBack(this.#waiting.signal);
      if (isUnreachable(error) && !this.isPast && !this.turn.isBusy) this.#thread.open(this.id);
      return;
    }
    if (this.isPast || this.turn.isBusy) return;
    this.#show(conversation);
    this.#thread.follow.toEnd();
    this.#goOn(conversation);
    this.watch(conversation);
  }

  /**
   * Show what is stored. If a new answer failed, the old one is back.
   *
   * @param {string} [failure] why @param {string} [about] the answer that is back; left out: the last one
   * @param {any} [offers] what the reader can do about it
   */
  async settle(failure = "", about, offers) {
    const { id } = this;
    const isPast = () => this.isPast || id !== this.id || this.turn.isBusy;
    let conversation;
    try {
      conversation = await this.#chat.conversations.get(id);
    } catch (error) {
      if (error.status === 404 && !isPast()) this.#apologise(error);
      return; // only details are missing from what is shown
    }
    if (isPast()) return;
    this.#show(conversation);
    this.#goOn(conversation);
    if (failure) this.#messages.fail(failure, { about, offers });
  }

  /** Show an answer that has begun elsewhere. */
  async join(answer) {
    if (this.turn.isBusy) return; // this tab's question will be refused, and then this answer is shown
    const conversation = await this.#chat.conversations.get(this.id);
    if (this.isPast || this.turn.isBusy) return;
    this.#show(conversation);
    if (!answer.ended) this.delivery.read(answer, this.#messages.begin());
  }

  /** Something else has changed in another tab. */
  #changed(conversation) {
    if (this.isPast || this.#thread.stored.hasNewer(conversation)) return;
    // An answer that begins elsewhere is shown when it comes.
    if (this.isFree && !conversation.generation && !this.#thread.outbox.hasUnsent) this.#show(conversation);
    else this.#describe(conversation);
  }

  /** Show answers that begin elsewhere. @param {any} [conversation] as it is known */
  watch(conversation) {
    this.#others.watch(this.id, conversation);
  }

  #goOn({ generation }) {
    if (generation) this.delivery.read(this.#chat.attach(this.id, { generation }), this.#messages.begin());
  }

  #show(conversation) {
    this.#thread.stored.show(conversation);
    this.#describe(conversation);
    this.#thread.changed();
  }

  /** Show what isn't a message. */
  #describe(conversation) {
    this.#thread.conversations.put(conversation);
    this.#thread.queue.show(conversation.queued);
  }

  #apologise(error) {
    if (error.status === 404) this.forget();
    this.#thread.stored.apologise(error, () => this.#thread.open(this.id));
  }

  /** It was deleted elsewhere. */
  forget() {
    this.#thread.stored.forget(this.id);
    this.id = null; // the next message creates a new one
  }
}
