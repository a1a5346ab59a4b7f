// A visit to a conversation, until another one is opened: loads it, reads answers to their end, and stops them. Results
// that arrive after the visit are dropped.

import { latest } from "../reader/latest.js";
import { mayPass, networkIsBack } from "../reader/network.js";
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
  #look = latest((isOld) => this.#lookOnce(isOld)); // all reads, so that what is shown is never older than what was shown
  #joined = null; // an answer that has begun elsewhere and isn't shown yet
  #isLoaded;
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
      changed: () => this.settle(),
    });
    this.asking = new Asking(thread, this);
    this.delivery = new Delivery(thread, this);
    this.waiting = new Waiting(thread, this);
    this.turn = new Turn(thread.chat, () => thread.changed());
    this.id = id;
    this.#isLoaded = id === null; // nothing is stored before the first question
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

  /** Read what is stored, and follow it from then on. */
  async #load() {
    await this.settle();
    if (!this.isPast) this.#thread.follow.toEnd();
  }

  /**
   * Show what is stored, read after this call. If a new answer failed, the old one is back.
   *
   * @param {string} [failure] why @param {string} [about] the answer that is back; left out: the last one
   * @param {any} [offers] what the reader can do about it
   */
  async settle(failure = "", about, offers) {
    const isShown = await this.#look();
    if (failure && isShown) this.#messages.fail(failure, { about, offers });
  }

  /** Show an answer that has begun elsewhere. */
  join(answer) {
    this.#joined = answer;
    this.settle();
  }

  /** Returns whether what is stored is shown: while an answer is read, it isn't, but after its end. */
  async #lookOnce(isOld) {
    const { id } = this;
    const isPast = () => this.isPast || id === null || id !== this.id;
    if (isPast()) return false;
    let conversation;
    try {
      conversation = await this.#chat.conversations.get(id);
    } catch (error) {
      if (!isPast()) this.#fail(error);
      return false;
    }
    if (isPast() || isOld()) return false;
    const { outbox, stored } = this.#thread;
    this.#describe(conversation);
    if (this.turn.isBusy || (outbox.hasUnsent && stored.isShown(conversation))) return false;
    outbox.leave(id);
    stored.show(conversation);
    this.#thread.changed();
    this.#isLoaded = true;
    this.#goOn(conversation);
    this.watch(conversation);
    return true;
  }

  #fail(error) {
    if (!this.turn.isBusy && (error.status === 404 || !this.#isLoaded)) this.#apologise(error);
    if (mayPass(error)) networkIsBack(this.signal).then(() => this.settle());
  }

  /** Show answers that begin elsewhere. @param {any} [conversation] as it is known */
  watch(conversation) {
    this.#others.watch(this.id, conversation);
  }

  #goOn({ generation }) {
    const joined = this.#joined;
    this.#joined = null;
    if (!generation) return;
    const isJoined = joined !== null && joined.generationId === generation.id; // it may have ended since
    const answer = isJoined ? joined : this.#chat.attach(this.id, { generation });
    this.delivery.read(answer, this.#messages.begin());
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
