// What a reader asks for in an open conversation: an answer to a question or to an edited one, another answer, the rest
// of one.

import { announce } from "../ui/announcer.js";
import { toast } from "../ui/toast.js";
import { dropEdit } from "./edits.js";

/** A new key. It makes a question one message, however often it is tried. */
export const newKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

export class Asking {
  #thread;
  #visit;

  /** @param {import("./thread.js").Thread} thread @param {import("./visit.js").Visit} visit */
  constructor(thread, visit) {
    this.#thread = thread;
    this.#visit = visit;
  }

  /** Send a question that comes last. If it is refused, it stands there to be sent again. */
  send(content) {
    this.#visit.turn.begin();
    const question = this.#thread.messages.ask(content);
    const key = newKey();
    const refused = (error) => {
      this.#thread.outbox.keep(content);
      this.#thread.messages.dropAnswer();
      const act = () => {
        if (this.#visit.turn.isBusy) return;
        this.#visit.turn.begin();
        this.#visit.delivery.deliver(question, this.#thread.messages.begin(), { key, refused });
      };
      question.notify(error.message, { bad: true, offers: [{ text: "Send again", act }] });
      announce(`Not sent. ${error.message}`);
    };
    this.#visit.delivery.deliver(question, this.#begin(), { key, refused });
  }

  /** Send an edit beside the question that was edited. If it is refused, it is in its field again. */
  edit(/** @type {import("./question.js").QuestionView} */ old, content) {
    this.#visit.turn.begin();
    const { id, parentId } = old;
    const conversation = this.#visit.id;
    this.#thread.messages.cutFrom(old);
    const question = this.#thread.messages.ask(content);
    const stored = () => dropEdit(id);
    const refused = (error) => this.#reopen({ conversation, id }, content, error);
    this.#visit.delivery.deliver(question, this.#begin(), { key: newKey(), parentId, stored, refused });
  }

  /** @param {import("./answer.js").AnswerView} [old] the answer to do again; left out: the last one */
  regenerate(old) {
    this.#visit.turn.begin();
    if (old) this.#thread.messages.cutFrom(old);
    const answer = this.#thread.chat.regenerate(this.#visit.id, old?.id ? { messageId: old.id } : {});
    this.#visit.delivery.read(answer, this.#begin(), { about: old?.id });
  }

  /** @param {import("./answer.js").AnswerView} old an answer that was cut */
  goOn(old) {
    this.#visit.turn.begin();
    this.#thread.messages.cutFrom(old);
    const view = this.#begin();
    view.hold(old);
    this.#visit.delivery.read(this.#thread.chat.goOn(this.#visit.id, { messageId: old.id }), view, { about: old.id });
  }

  #begin() {
    const view = this.#thread.messages.begin();
    this.#thread.follow.toEnd();
    return view;
  }

  /** Show what is stored, where the edit is in its field again. If its question is gone, return the text otherwise. */
  async #reopen({ conversation, id }, content, error) {
    this.#thread.stored.showKnown(conversation);
    await this.#visit.settle(); // also tells that the conversation is gone
    announce(`Not sent. ${error.message}`);
    const question = this.#thread.messages.find(id);
    if (question) return question.notify(error.message, { bad: true });
    dropEdit(id);
    this.#thread.giveBack(conversation, content);
    toast(error.message);
  }
}
