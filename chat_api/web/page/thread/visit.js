// A visit to a conversation, until another one is opened: loads it, sends, reads answers to their end, and stops them.
// Results that arrive after the visit are dropped.

import { isUnreachable, networkIsBack } from "../reader/network.js";
import { announce, announceAnswer } from "../ui/announcer.js";
import { toast } from "../ui/toast.js";
import { Others, readInto } from "./reading.js";
import { Turn } from "./turn.js";

export class Visit {
  #thread;
  #chat;
  #messages;
  #others;
  #isPast = false;
  #waiting = new AbortController(); // ends the wait for a network

  /** @param {import("./thread.js").Thread} thread @param {string | null} id */
  constructor(thread, id) {
    this.#thread = thread;
    this.#chat = thread.chat;
    this.#messages = thread.messages;
    this.#others = new Others(thread.chat, (answer) => this.#join(answer));
    this.turn = new Turn(thread.chat, () => thread.changed());
    this.id = id;
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
    this.#isPast = true;
    this.#thread.outbox.leave(this.id);
    this.#waiting.abort();
    this.#others.leave();
    this.turn.leave();
  }

  /** @returns {boolean} whether it was taken */
  send(content) {
    if (this.turn.isBusy) return false;
    this.turn.begin();
    const question = this.#messages.ask(content);
    const view = this.#messages.begin();
    this.#thread.follow.toEnd();
    this.#deliver(question, view, crypto.getRandomValues(new Uint32Array(4)).join("-"));
    return true;
  }

  regenerate() {
    if (this.turn.isBusy || this.id === null) return;
    this.turn.begin();
    const view = this.#messages.begin();
    this.#thread.follow.toEnd();
    this.#read(this.#chat.regenerate(this.id), view);
  }

  async stop() {
    if (!this.turn.isBusy) return;
    if (this.#thread.outbox.isCreating) this.#waiting.abort();
    await this.turn.stop(this.id);
  }

  /** Show the stored conversation, and its running answer if there is one. */
  async #load() {
    let conversation;
    try {
      conversation = await this.#chat.conversations.get(this.id);
    } catch (error) {
      if (this.#isPast) return;
      this.#apologise(error);
      if (isUnreachable(error)) await networkIsBack(this.#waiting.signal);
      if (isUnreachable(error) && !this.#isPast && !this.turn.isBusy) this.#thread.open(this.id);
      return;
    }
    if (this.#isPast || this.turn.isBusy) return;
    this.#show(conversation);
    this.#thread.follow.toEnd();
    this.#goOn(conversation);
    this.#others.watch(this.id, conversation);
  }

  /** Send a question. The key makes it one message, however often it is tried. */
  async #deliver(question, view, key) {
    const content = question.text;
    const refused = (error) => {
      this.#thread.outbox.keep(content);
      this.#messages.dropAnswer();
      const again = () => {
        if (this.turn.isBusy) return;
        this.turn.begin();
        this.#deliver(question, this.#messages.begin(), key);
      };
      question.notify(error.message, { bad: true, action: "Send again", act: again });
      announce(`Not sent. ${error.message}`);
    };
    let answer;
    try {
      answer = await this.#thread.outbox.send(content, {
        id: this.id,
        key,
        modelTag: this.#thread.modelTag,
        signal: this.#waiting.signal,
        isPast: () => this.#isPast,
        created: (id) => this.#thread.created((this.id = id)),
      });
    } catch (error) {
      if (this.#isPast) return;
      this.turn.end();
      refused(error);
      return;
    }
    if (this.#isPast) return; // the service answers it anyway
    this.#others.watch(this.id);
    await this.#read(answer, view, { question, refused });
  }

  /** Show an answer until it ends. `question` and `refused` are given if it answers a question of this visit. */
  async #read(answer, view, { question, refused } = {}) {
    this.turn.begin(answer);
    const { failure, error } = await readInto(answer, view, (start) => {
      if (question) question.id = start.user_message_id;
      this.turn.answering(this.id);
      this.#thread.conversations.tellOthers();
      announce("The answer begins.");
    });
    if (this.#isPast) return;
    this.turn.end();
    if (error === null) {
      announceAnswer(view.words, view.ending);
      await this.#settle(failure);
    } else if (answer.generationId !== null || !question) {
      await this.#settle(error.code === "answer_gone" ? "" : error.message);
    } else if (error.code === "generation_running") {
      // Another tab was faster: its answer is shown, and the question returns to the message box.
      this.#thread.giveBack(this.id, question.text);
      toast(error.message);
      await this.#settle("");
    } else {
      if (error.status === 404) this.#forget(); // deleted elsewhere: sending again creates a new one
      refused(error);
    }
  }

  /** Show what is stored after an answer. If a new answer failed, the old one is back. */
  async #settle(failure) {
    const { id } = this;
    const isPast = () => this.#isPast || id !== this.id || this.turn.isBusy;
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
    if (failure) this.#messages.fail(failure);
  }

  async #join(answer) {
    if (this.turn.isBusy) return; // this tab's question will be refused, and then this answer is shown
    const conversation = await this.#chat.conversations.get(this.id);
    if (this.#isPast || this.turn.isBusy) return;
    this.#show(conversation);
    if (!answer.ended) this.#read(answer, this.#messages.begin());
  }

  #goOn({ generation }) {
    if (generation) this.#read(this.#chat.attach(this.id, { generation }), this.#messages.begin());
  }

  #show(conversation) {
    this.#thread.stored.show(conversation);
    this.#thread.changed();
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
