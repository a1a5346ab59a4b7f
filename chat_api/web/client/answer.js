import { broken, gone } from "./errors.js";
import { Feed } from "./feed.js";

/**
 * An answer on its way: an async iterable of its events. They are read even if nobody iterates.
 *
 * Events: `{type, generation_id, conversation_id, seq, …}`; `start` (user_message_id), `token` (token), `reset`
 * (content: the whole text so far), `error` (error, detail), `done` (message_id, finish_reason, token_count,
 * inference_time_ms).
 */
export class Answer extends Feed {
  #settle = { resolve: null, reject: null };
  #seq = -1;

  /** Made by ChatClient. @param {string} conversationId @param {any} [from] */
  constructor(conversationId, { question = null, after = null, text = "", generation } = {}) {
    super();
    this.conversationId = conversationId;
    this.question = question;
    this.generation = generation; // null: none is running; undefined: not known
    this.generationId = null;
    this.text = text;
    if (after) {
      this.generationId = after.slice(0, after.lastIndexOf(":"));
      this.#seq = Number(after.slice(after.lastIndexOf(":") + 1));
    }
    /**
     * The `done` event; null after `leave()`, or if there was nothing to attach to. Rejects with a ChatError if the
     * question is refused or the answer can't be continued.
     * @type {Promise<any>}
     */
    this.done = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.done.catch(() => {}); // the iterator throws it too
  }

  /** The id to keep for `attach` after a reload; null before the first event. */
  get lastEventId() {
    return this.generationId === null ? null : `${this.generationId}:${this.#seq}`;
  }

  /** Whether it is a question whose answer's id isn't known yet. */
  get isOpen() {
    return this.question !== null && this.generationId === null;
  }

  /**
   * Take an event. Returns false if it is a duplicate. Throws a ChatError if the event before it is missing.
   * @param {any} event
   */
  take(event) {
    if (this.ended) return false;
    if (event.generation_id !== this.generationId) {
      // The server no longer has the generation that was read, and goes on with the one that is running.
      if (this.generationId !== null && this.question) throw gone();
      this.generationId = event.generation_id;
      this.#seq = -1;
      this.text = "";
    }
    if (event.seq <= this.#seq) return false;
    if (event.type === "token" && event.seq !== this.#seq + 1) throw broken("an event is missing");
    this.#seq = event.seq;
    if (event.type === "token") this.text += event.token;
    if (event.type === "reset") this.text = event.content;
    if (event.type === "done") {
      this.#settle.resolve(event);
      this.ended = true;
    }
    this.push(event);
    return true;
  }

  /** The server has no such answer. That is fine unless a question was asked or events were read. */
  miss() {
    if (!this.isEmpty || this.question) throw gone();
    this.end();
  }

  end() {
    this.#settle.resolve(null); // no effect after `done`
    super.end();
  }

  fail(error) {
    this.#settle.reject(error);
    super.fail(error);
  }
}
