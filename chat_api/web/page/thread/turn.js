// One turn in a conversation: from a question to the end of its answer.

import { toast } from "../ui/toast.js";

export class Turn {
  #chat;
  #changed;
  #answer = null; // the answer that is being read
  isBusy = false;
  isStopping = false;

  /**
   * @param {import("../../client.js").ChatClient} chat
   * @param {() => void} changed called when it begins, stops or ends
   */
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

  /** Note that the answer begins: stop it if that was asked for meanwhile. @param {string} id its conversation */
  answering(id) {
    if (this.isStopping) this.#stopNow(id);
  }

  /** Stop the answer, now or as soon as it begins. @param {string | null} id the conversation */
  async stop(id) {
    this.isStopping = true;
    this.#changed();
    // An answer that hasn't begun is stopped by `answering`.
    if (id !== null && this.#answer !== null && this.#answer.generationId !== null) await this.#stopNow(id);
  }

  end() {
    this.isBusy = this.isStopping = false;
    this.#answer = null;
    this.#changed();
  }

  /** End the turn here, because the reader opens another conversation. */
  leave() {
    this.#answer?.leave(); // the service finishes it anyway
    this.end();
  }

  async #stopNow(id) {
    try {
      await this.#chat.stop(id);
    } catch (error) {
      this.isStopping = false;
      this.#changed();
      toast(`The answer could not be stopped: ${error.message}`);
    }
  }
}
