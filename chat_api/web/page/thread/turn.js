// The open conversation's turn: from a question to its answer's end, or to its stop.

import { toast } from "../ui/toast.js";

export class Turn {
  #chat;
  #changed;
  #answer = null; // the one that is read
  isBusy = false;
  isStopping = false;

  /** @param {import("../../client.js").ChatClient} chat @param {() => void} changed called when it begins, stops or ends */
  constructor(chat, changed) {
    this.#chat = chat;
    this.#changed = changed;
  }

  /** @param {import("../../client.js").Answer | null} answer null: its question is being sent */
  begin(answer = null) {
    this.isBusy = true;
    this.#answer = answer;
    this.#changed();
  }

  /** The answer begins. @param {string} id its conversation */
  answering(id) {
    if (this.isStopping) this.#stopNow(id);
  }

  /** @param {string | null} id the conversation */
  async stop(id) {
    this.isStopping = true;
    this.#changed();
    // What the service doesn't know of yet is stopped when it does.
    if (id !== null && this.#answer !== null && this.#answer.generationId !== null) await this.#stopNow(id);
  }

  end() {
    this.isBusy = this.isStopping = false;
    this.#answer = null;
    this.#changed();
  }

  /** The reader goes on to another conversation. */
  leave() {
    this.#answer?.leave(); // it is written to its end all the same
    this.end();
  }

  async #stopNow(id) {
    try {
      await this.#chat.stop(id);
    } catch (error) {
      this.isStopping = false;
      this.#changed();
      toast(`It could not be stopped: ${error.message}`);
    }
  }
}
