// Messages that a reader sends while an answer is being written: the service keeps them until their turn comes.

import { toast } from "../ui/toast.js";
import { newKey } from "./asking.js";
import { otherModel } from "./other-model.js";

export class Waiting {
  #thread;
  #visit;
  #sent = Promise.resolve(); // the message before

  /** @param {import("./thread.js").Thread} thread @param {import("./visit.js").Visit} visit */
  constructor(thread, visit) {
    this.#thread = thread;
    this.#visit = visit;
  }

  /** Send a message, after those that were sent before it. If it is refused, its text returns to the message box. */
  send(content) {
    const hide = this.#thread.queue.send(content);
    this.#sent = this.#sent.then(() => this.#send(content, this.#visit.id, hide));
  }

  async #send(content, id, hide) {
    const answer = this.#thread.chat.send(id, content, { when_running: "queue", idempotencyKey: newKey() });
    try {
      for await (const { type } of answer) if (type === "start") break;
    } catch (error) {
      hide();
      this.#thread.giveBack(id, content);
      const [offer] = otherModel(error, this.#thread, this.#visit, { again() {}, failed: ({ message }) => toast(message) }) ?? [];
      toast(error.message, offer && { action: offer.text, act: offer.act, seconds: 15 });
      return;
    }
    hide();
    if (this.#visit.isPast) answer.leave();
    else if (answer.queued) this.#thread.queue.add(answer.queued);
    else this.#begun(answer);
  }

  /** Take a message back: its text returns to the message box. */
  async takeBack({ id: messageId, content }) {
    const { id } = this.#visit;
    try {
      await this.#thread.chat.conversations.takeBack(id, messageId);
    } catch (error) {
      if (!this.#visit.isPast) toast(error.code === "message_not_found" ? "This message has its turn now." : error.message);
      return;
    }
    this.#thread.giveBack(id, content);
    if (!this.#visit.isPast) this.#thread.queue.remove(messageId);
  }

  /** The running answer had ended before the message came, so its own has begun. */
  #begun(answer) {
    if (this.#visit.turn.isBusy) answer.leave(); // it is shown after the one that is still read here
    else this.#visit.join(answer);
  }
}
