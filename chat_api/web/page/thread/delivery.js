// A question on its way to the service, and an answer on its way back, for as long as the visit lasts.

import { announce, announceAnswer } from "../ui/announcer.js";
import { toast } from "../ui/toast.js";
import { readInto } from "./reading.js";

export class Delivery {
  #thread;
  #visit;

  /** @param {import("./thread.js").Thread} thread @param {import("./visit.js").Visit} visit */
  constructor(thread, visit) {
    this.#thread = thread;
    this.#visit = visit;
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
    const visit = this.#visit;
    let answer;
    try {
      answer = await this.#thread.outbox.send(question.text, {
        id: visit.id,
        key: options.key,
        parentId: options.parentId,
        modelTag: this.#thread.modelTag,
        signal: visit.signal,
        isPast: () => visit.isPast,
        created: (id) => this.#thread.created((visit.id = id)),
      });
    } catch (error) {
      if (visit.isPast) return;
      visit.turn.end();
      options.refused(error);
      return;
    }
    if (visit.isPast) return; // the service answers it anyway
    visit.watch();
    await this.read(answer, view, { question, ...options });
  }

  /**
   * Show an answer until it ends.
   *
   * @param {import("../../client.js").Answer} answer
   * @param {import("./answer.js").AnswerView} view
   * @param {{question?: any, stored?: () => void, refused?: (error: any) => void, parentId?: string | null,
   *          about?: string, offers?: (error: any) => any}} [asked]
   *   `question` and `refused` are given if it answers a question of this visit, `about` if another answer is in question;
   *   `offers`: what the reader can do about a refusal, if it isn't the usual
   */
  async read(answer, view, { question, stored, refused, parentId, about, offers } = {}) {
    const visit = this.#visit;
    visit.turn.begin(answer);
    const { failure, error } = await readInto(answer, view, (start) => {
      if (question) question.id = start.user_message_id;
      stored?.();
      visit.turn.answering(visit.id);
      this.#thread.conversations.tellOthers();
      announce("The answer begins.");
    });
    if (visit.isPast) return;
    visit.turn.end();
    if (error === null) {
      announceAnswer(view.shown, view.ending);
      await visit.settle(failure, about);
    } else if (answer.generationId !== null || !question) {
      await visit.settle(error.code === "answer_gone" ? "" : error.message, about, offers?.(error));
    } else if (error.code === "generation_running" && parentId === undefined) {
      // Another tab was faster: its answer is shown, and the question returns to the message box.
      this.#thread.giveBack(visit.id, question.text);
      toast(error.message);
      await visit.settle();
    } else {
      // Deleted elsewhere: sending it again creates a new one.
      if (error.code === "conversation_not_found" && parentId === undefined) visit.forget();
      refused(error);
      await visit.settle(); // what came from elsewhere meanwhile
    }
  }
}
