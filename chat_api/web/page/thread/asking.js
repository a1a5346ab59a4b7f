// What a reader asks for in an open conversation: an answer to a question or to an edited one, another answer, the rest
// of one.

import { announce } from "../ui/announcer.js";
import { toast } from "../ui/toast.js";
import { dropEdit } from "./edits.js";
import { otherModel } from "./other-model.js";

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
      const again = () => {
        if (this.#visit.turn.isBusy) return;
        this.#visit.turn.begin();
        this.#visit.delivery.deliver(question, this.#thread.messages.begin(), { key, refused });
      };
      const offers = this.#offers(error, again, refused) ?? [{ text: "Send again", act: again }];
      question.notify(error.message, { bad: true, offers });
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
    const about = old?.id ?? undefined;
    const answer = this.#thread.chat.regenerate(this.#visit.id, about ? { messageId: about } : {});
    const again = () => this.#thread.regenerate(this.#answer(about));
    this.#visit.delivery.read(answer, this.#begin(), { about, offers: (error) => this.#offersAbout(error, about, again) });
  }

  /** @param {import("./answer.js").AnswerView} old an answer that was cut */
  goOn(old) {
    this.#visit.turn.begin();
    this.#thread.messages.cutFrom(old);
    const view = this.#begin();
    view.hold(old);
    const about = old.id ?? undefined;
    const again = () => this.#thread.goOn(this.#answer(about) ?? old);
    const offers = (error) => this.#offersAbout(error, about, again);
    this.#visit.delivery.read(this.#thread.chat.goOn(this.#visit.id, { messageId: about }), view, { about, offers });
  }

  /** The view of a stored answer. @param {string} [id] @returns {any} */
  #answer(id) {
    return id && this.#thread.messages.find(id);
  }

  #offers(error, again, failed) {
    return otherModel(error, this.#thread, this.#visit, { again, failed });
  }

  /** The offers where a new answer was refused; a switch of models that fails is told in the same place. */
  #offersAbout(error, about, again) {
    const failed = (problem) => this.#thread.messages.fail(problem.message, { about });
    return this.#offers(error, again, failed);
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
    if (question) {
      const failed = (problem) => question.notify(problem.message, { bad: true });
      const offers = this.#offers(error, () => question.save(), failed);
      return question.notify(error.message, { bad: true, offers });
    }
    dropEdit(id);
    this.#thread.giveBack(conversation, content);
    toast(error.message);
  }
}
