import { failed } from "../client/errors.js";
import { Loading } from "./loading.js";
import { placed, sameObjects } from "./placing.js";
import { Store, sleep } from "./store.js";
import { Turn } from "./turn.js";

const SWEEP_MS = 500; // until the service has ended an answer that is gone

/** A conversation as the service stores it, with the turns that it doesn't have yet. */
export class ReadingStore extends Store {
  #keys = new Map(); // of messages that were shown before they had an id
  #following = null;
  #loading;
  #isOpen = false; // somebody reads it
  #loadError = null;
  #error = null;
  #listening = null;
  known = null; // as it was last loaded
  turns = [];
  isStopping = false;

  /** @param {import("../client.js").ChatClient} chat @param {any} stores @param {string | null} id */
  constructor(chat, stores, id) {
    super();
    this.chat = chat;
    this.stores = stores;
    this.id = id;
    this.#loading = new Loading(() => this.#load());
  }

  begin() {
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#listening = new AbortController();
    this.chat.addEventListener("status", ({ detail }) => this.#hearStatus(detail), { signal: this.#listening.signal });
    if (this.id === null) return;
    this.stores.keep(this);
    this.load();
  }

  #hearStatus(status) {
    if (status === "online" && this.#loadError && this.id !== null) this.load(); // and it is followed again
    this.changed();
  }

  rest() {
    this.#isOpen = false;
    this.#listening?.abort();
    this.#following?.leave();
    this.#following = null;
    for (const turn of this.turns) if (turn.hasBegun || !turn.ask) turn.answer.leave();
    this.#tidy();
  }

  look() {
    const { messages = [], queued = [], generation: _, unanswered: __, has_more: ___, ...fields } = this.known ?? {};
    return {
      id: this.id,
      status: this.known || this.id === null ? "ready" : this.#loadError ? "failed" : "loading",
      conversation: this.known && fields,
      messages: placed(messages, this.turns, this.#keys),
      queued,
      isRunning: this.running !== undefined,
      isStopping: this.isStopping,
      error: this.#error ?? this.#loadError,
      connection: this.chat.status,
    };
  }

  /** The turn whose answer is awaited or written. */
  get running() {
    return this.turns.findLast((turn) => turn.isRunning);
  }

  /** @param {unknown} error what went wrong last; null: it is done with */
  complain(error) {
    this.#error = error;
    this.changed();
  }

  /** Load what is stored: after all that was heard when it was asked for, and again while the service is away. */
  load() {
    return this.#loading.ask();
  }

  async #load() {
    if (!this.#isOpen) return;
    const over = this.turns.filter(({ isOver }) => isOver);
    try {
      const conversation = await this.chat.conversations.get(this.id);
      if (this.#isOpen && !this.#loading.isAsked) this.#show(conversation, over);
    } catch (error) {
      this.#lack(error);
      throw error;
    }
  }

  /** Show this state, which has the turns that were over before it was asked for. */
  #show(conversation, over) {
    this.turns = this.turns.filter((turn) => !over.includes(turn));
    this.known = { ...conversation, messages: sameObjects(this.known?.messages ?? [], conversation.messages) };
    this.#loadError = null;
    const { generation, unanswered } = conversation;
    if (unanswered?.error && !this.running) this.#error ??= failed(unanswered);
    if (generation && !this.running) this.#join(this.chat.attach(this.id, { generation }));
    this.follow();
    this.stores.list.put(conversation);
    this.changed();
  }

  /** It can't be loaded, or is gone. @param {any} error */
  #lack(error) {
    this.#loadError = error;
    if (error.status === 404) {
      this.known = null;
      this.turns = [];
      this.stores.list.drop(this.id);
    }
    this.changed();
  }

  /** Show the answers that begin elsewhere from now on. */
  async follow() {
    if (this.#following || !this.#isOpen) return;
    const from = { conversation: this.known, onChange: () => void this.load() };
    const following = (this.#following = this.chat.follow(this.id, from));
    try {
      for await (const answer of following) this.#join(answer);
    } catch (error) {
      if (following !== this.#following) return;
      this.#following = null; // the next time it is loaded, it is followed again
      this.#lack(error);
    }
  }

  /** An answer has begun elsewhere, or follows the results of tool calls. */
  #join(answer, isResults = false) {
    const turn = new Turn({ isResults });
    turn.answer = answer;
    this.turns = [...this.turns, turn];
    this.read(turn);
  }

  /** Read a turn's answer to its end. Never rejects. @param {Turn} turn */
  async read(turn) {
    const answer = /** @type {import("../client.js").Answer} */ (turn.answer);
    answer.next.then(
      (next) => next && this.#join(next, true),
      (error) => this.complain(error),
    );
    try {
      for await (const event of answer) {
        turn.hear(event);
        this.#heard(turn, event);
        this.changed();
      }
      if (answer.queued) this.#wait(turn, answer.queued);
    } catch (error) {
      if (error.code === "answer_gone") await sleep(SWEEP_MS);
      else this.#error = error;
      if (!turn.hasBegun && turn.content !== null) turn.fail(error);
    }
    if (!turn.isFailed) turn.end();
    if (!this.running) this.isStopping = false;
    this.changed();
    if (this.#isOpen) this.load();
    else this.#tidy();
  }

  #heard(turn, event) {
    if (event.type === "start") this.#begun(turn);
    else if (event.type === "error") this.#error = failed(event);
    else if (event.type === "done" && event.message_id) this.#keys.set(event.message_id, `${turn.key}:answer`);
  }

  #begun({ key, userMessageId, content, isResults, answer }) {
    if (content !== null) this.#keys.set(userMessageId, `${key}:question`);
    else if (isResults || !this.known?.messages.some(({ id }) => id === userMessageId)) this.load();
    if (!this.#isOpen) answer.leave(); // nobody reads it any more, and the service has it
  }

  /** The question has its turn later. */
  #wait(turn, queued) {
    turn.take(true);
    this.turns = this.turns.filter((each) => each !== turn);
    if (this.known?.queued.some(({ id }) => id === queued.id) === false) {
      this.known = { ...this.known, queued: [...this.known.queued, queued] };
    }
  }

  /** While nobody reads it, keep only questions that are on their way or were refused. */
  #tidy() {
    if (this.#isOpen) return;
    this.turns = this.turns.filter((turn) => turn.isFailed || (turn.ask && turn.isRunning && !turn.hasBegun));
    if (this.turns.length === 0 && this.id !== null) this.stores.forget(this);
    this.changed();
  }
}
