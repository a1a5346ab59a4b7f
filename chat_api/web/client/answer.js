import { broken, gone } from "./errors.js";
import { Feed } from "./feed.js";
import { Words } from "./words.js";

// They replace all that came before, or end the answer, so that nothing is lost if events before them are missing.
const MAY_SKIP = new Set(["start", "reset", "error", "done"]);

/**
 * An answer that is being written: an async iterable of its events. They are read even if nobody iterates.
 *
 * Events: `{type, generation_id, conversation_id, seq, …}`; `start` (user_message_id, and history where it is known),
 * `token` (token), `reasoning` (reasoning: a piece of the model's thinking), `tool_call` (tool_call: a piece of a
 * call), `reset` (content, reasoning, tool_calls: all that was said so far), `error` (error, detail), `done`
 * (message_id, finish_reason, token_count, inference_time_ms, usage). Events of other types may come: a model server's
 * own, such as `status`, and those of later releases.
 */
export class Answer extends Feed {
  #settle = { resolve: null, reject: null };
  #seq = -1;
  #words;

  /** Made by ChatClient. @param {string} conversationId @param {any} [from] */
  constructor(conversationId, { question = null, after = null, generation, ...said } = {}) {
    super();
    this.conversationId = conversationId;
    this.question = question;
    this.generation = generation; // null: none is running; undefined: not known
    this.generationId = null;
    /** The question, if it waits for its turn: `{id, content, created_at}`; null: it doesn't. @type {any} */
    this.queued = null;
    /** How many earlier messages the model is sent, and how many didn't fit; null: not known. @type {any} */
    this.history = null;
    /**
     * The answer that follows the results of this one's tool calls; null if there is none. Set by ChatClient.
     * @type {Promise<Answer | null>}
     */
    this.next = Promise.resolve(null);
    this.#words = new Words(said);
    if (after) {
      this.generationId = after.slice(0, after.lastIndexOf(":"));
      this.#seq = Number(after.slice(after.lastIndexOf(":") + 1));
    }
    /**
     * The `done` event; null after `leave()`, if the question was queued, or if there was nothing to attach to. Rejects
     * with a ChatError if the question is refused or the answer can't be continued.
     * @type {Promise<any>}
     */
    this.done = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.done.catch(() => {}); // the iterator throws it too
  }

  /** The text so far. */
  get text() {
    return this.#words.text;
  }

  /** The model's thinking so far. */
  get reasoning() {
    return this.#words.reasoning;
  }

  /** The model's tool calls so far: `{id, name, arguments}`, where `arguments` is JSON text. */
  get toolCalls() {
    return this.#words.toolCalls;
  }

  /** The id to keep for `attach` after a reload; null before the first event. */
  get lastEventId() {
    return this.generationId === null ? null : `${this.generationId}:${this.#seq}`;
  }

  /** Whether a question was asked, and its answer's id isn't known yet. */
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
      this.#words = new Words();
    }
    if (event.seq <= this.#seq) return false;
    if (!MAY_SKIP.has(event.type) && event.seq !== this.#seq + 1) throw broken("an event is missing");
    this.#seq = event.seq;
    this.#hear(event);
    if (event.type === "done") {
      this.#settle.resolve(event);
      this.ended = true;
    }
    this.push(event);
    return true;
  }

  #hear(event) {
    if (event.type === "start") this.history = event.history ?? null;
    else if (event.type === "reset") {
      const { content: text, reasoning, tool_calls } = event;
      this.#words = new Words({ text, reasoning: reasoning ?? "", toolCalls: tool_calls ?? [] });
    } else this.#words.take(event);
  }

  /** The question waits for its turn, so there is nothing to read here. Its answer will begin like another tab's. */
  wait(queued) {
    this.queued = queued;
    this.end();
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
