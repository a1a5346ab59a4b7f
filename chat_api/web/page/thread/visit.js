// A visit to a conversation, until another one is opened: loads it, reads answers to their end, and stops them. Results
// that arrive after the visit are dropped.

import { isUnreachable, networkIsBack } from "../reader/network.js";
import { announce, announceAnswer } from "../ui/announcer.js";
import { toast } from "../ui/toast.js";
import { Asking } from "./asking.js";
import { Others, readInto } from "./reading.js";
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
    this.waiting = new Waiting(thread, this);
    this.turn = new Turn(thread.chat, () => thread.changed());
    this.id = id;
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
    this.#others.watch(this.id, conversation);
  }

  /**
   * Send a question, and show its answer.
   *
   * @param {import("./question.js").QuestionView} question
   * @param {import("./answer.js").AnswerView} view its answer's
   * @param {{key: string, parentId?: string | null, stored?: () => void, refused: (error: any) => void}} options
   *   `parentId`: see the client; `stored`: called when the service has it
   */
  async deliver(question, view, options) {
    let answer;
    try {
      answer = await this.#thread.outbox.send(question.text, {
        id: this.id,
        key: options.key,
        parentId: options.parentId,
        modelTag: this.#thread.modelTag,
        signal: this.#waiting.signal,
        isPast: () => this.isPast,
        created: (id) => this.#thread.created((this.id = id)),
      });
    } catch (error) {
      if (this.isPast) return;
      this.turn.end();
      options.refused(error);
      return;
    }
    if (this.isPast) return; // the service answers it anyway
    this.#others.watch(this.id);
    await this.read(answer, view, { question, ...options });
  }

  /**
   * Show an answer until it ends.
   *
   * @param {import("../../client.js").Answer} answer
   * @param {import("./answer.js").AnswerView} view
   * @param {{question?: any, stored?: () => void, refused?: (error: any) => void, parentId?: string | null,
   *          about?: string}} [asked]
   *   `question` and `refused` are given if it answers a question of this visit, `about` if another answer is in question
   */
  async read(answer, view, { question, stored, refused, parentId, about } = {}) {
    this.turn.begin(answer);
    const { failure, error } = await readInto(answer, view, (start) => {
      if (question) question.id = start.user_message_id;
      stored?.();
      this.turn.answering(this.id);
      this.#thread.conversations.tellOthers();
      announce("The answer begins.");
    });
    if (this.isPast) return;
    this.turn.end();
    if (error === null) {
      announceAnswer(view.shown, view.ending);
      await this.settle(failure, about);
    } else if (answer.generationId !== null || !question) {
      await this.settle(error.code === "answer_gone" ? "" : error.message, about);
    } else if (error.code === "generation_running" && parentId === undefined) {
      // Another tab was faster: its answer is shown, and the question returns to the message box.
      this.#thread.giveBack(this.id, question.text);
      toast(error.message);
      await this.settle();
    } else {
      // Deleted elsewhere: sending it again creates a new one.
      if (error.code === "conversation_not_found" && parentId === undefined) this.#forget();
      refused(error);
    }
  }

  /**
   * Show what is stored. If a new answer failed, the old one is back.
   *
   * @param {string} [failure] why @param {string} [about] the answer that is back; left out: the last one
   */
  async settle(failure = "", about) {
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
    if (failure) this.#messages.fail(failure, { about });
  }

  /** Show an answer that has begun elsewhere. */
  async join(answer) {
    if (this.turn.isBusy) return; // this tab's question will be refused, and then this answer is shown
    const conversation = await this.#chat.conversations.get(this.id);
    if (this.isPast || this.turn.isBusy) return;
    this.#show(conversation);
    if (!answer.ended) this.read(answer, this.#messages.begin());
  }

  /** Something else has changed in another tab. */
  #changed(conversation) {
    if (this.isPast || this.#thread.stored.hasNewer(conversation)) return;
    // An answer that begins elsewhere is shown when it comes.
    if (this.isFree && !conversation.generation && !this.#thread.outbox.hasUnsent) this.#show(conversation);
    else this.#describe(conversation);
  }

  #goOn({ generation }) {
    if (generation) this.read(this.#chat.attach(this.id, { generation }), this.#messages.begin());
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
    if (error.status === 404) this.#forget();
    this.#thread.stored.apologise(error, () => this.#thread.open(this.id));
  }

  #forget() {
    this.#thread.stored.forget(this.id);
    this.id = null; // the next message creates a new one
  }
}
