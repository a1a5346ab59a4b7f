import { ReadingStore } from "./reading.js";
import { Turn } from "./turn.js";

/** A conversation, and what can be done in it. Each action resolves to whether the service took it. */
export class ConversationStore extends ReadingStore {
  #creating = null;

  /**
   * Send a message. Unless the options say otherwise, it waits for its turn if an answer is being written.
   *
   * @param {string} content @param {any} [options] `create`: the fields of a new conversation; `onCreated` gets its id
   */
  send(content, options = {}) {
    const { asked, ...creation } = parted(options);
    return this.#ask({ content, creation }, (id, idempotencyKey) =>
      this.chat.send(id, content, { when_running: "queue", ...asked, idempotencyKey }),
    );
  }

  /** Send another version of a question. @param {string} messageId @param {string} content @param {any} [options] */
  edit(messageId, content, options = {}) {
    const { parent_id: after } = this.#find(messageId);
    const { asked } = parted(options);
    return this.#ask({ content, after }, (id, idempotencyKey) =>
      this.chat.send(id, content, { ...asked, parentId: after, idempotencyKey }),
    );
  }

  /** @param {"regenerate" | "goOn"} how @param {string} [messageId] left out: the last @param {any} [options] */
  again(how, messageId, options = {}) {
    const last = this.look().messages.at(-1);
    const old = messageId === undefined ? (last?.role === "assistant" ? last : null) : this.#find(messageId);
    const { asked } = parted(options);
    return this.#ask({ replaces: old && { ...old, isHeld: how === "goOn" } }, (id, idempotencyKey) =>
      this.chat[how](id, { ...asked, messageId: old?.id, idempotencyKey }),
    );
  }

  /** @param {import("../client.js").ToolResult[]} results @param {any} [options] */
  sendResults(results, options = {}) {
    const { asked } = parted(options);
    return this.#ask({ isResults: true }, (id, idempotencyKey) =>
      this.chat.sendResults(id, results, { ...asked, idempotencyKey }),
    );
  }

  /** Send a refused question again. It is stored once. @param {string} key its message's */
  async retry(key) {
    const turn = this.#refused(key);
    if (!turn) return false;
    turn.again();
    this.complain(null);
    this.#deliver(turn);
    return turn.taken;
  }

  /** Take a refused question off the list. @param {string} key its message's @returns {string | null} its text */
  discard(key) {
    const turn = this.#refused(key);
    this.turns = this.turns.filter((each) => each !== turn);
    this.complain(null);
    return turn?.content ?? null;
  }

  /** Stop the answer, now or as soon as it begins. What it has said stays. @param {{queue?: "clear"}} [options] */
  async stop(options) {
    if (this.id === null && !this.#creating) return false;
    const turn = this.running;
    if (turn) {
      this.isStopping = true;
      this.changed();
      await turn.taken;
      if (!turn.isRunning && !options?.queue) return false;
    }
    try {
      await this.chat.stop(/** @type {string} */ (this.id), options);
      return true;
    } catch (error) {
      this.isStopping = false;
      this.complain(error);
      return false;
    }
  }

  /** @param {"switchTo" | "takeBack" | "update"} how @param {any} given */
  async change(how, given) {
    this.complain(null);
    try {
      await this.chat.conversations[how](/** @type {string} */ (this.id), given);
    } catch (error) {
      this.complain(error);
      return false;
    }
    await this.load();
    return true;
  }

  /** @param {any} asked see Turn @param {(id: string, key: string) => import("../client.js").Answer} ask */
  #ask(asked, ask) {
    const turn = new Turn({ ...asked, ask });
    this.turns = [...this.turns, turn];
    this.complain(null);
    this.#deliver(turn);
    return turn.taken;
  }

  async #deliver(turn) {
    try {
      if (this.id === null) await this.#create(turn.creation);
      turn.answer = turn.ask(this.id, turn.key);
    } catch (error) {
      turn.fail(error);
      this.isStopping = false;
      this.complain(error);
      return;
    }
    await this.read(turn);
  }

  /** Create the conversation, once. */
  #create({ create, onCreated } = {}) {
    this.#creating ??= (async () => {
      const conversation = await this.chat.conversations.create(create);
      this.id = conversation.id;
      this.known = { ...conversation, messages: [], queued: [], generation: null, unanswered: null, has_more: false };
      this.stores.keep(this);
      this.stores.list.put(conversation);
      this.follow();
      onCreated?.(conversation.id);
    })().finally(() => (this.#creating = null));
    return this.#creating;
  }

  #refused(key) {
    return this.turns.find((turn) => turn.isFailed && `${turn.key}:question` === key);
  }

  #find(messageId) {
    const message = this.look().messages.find(({ id }) => id === messageId);
    if (!message) throw new TypeError(`The conversation shows no message with the id ${messageId}.`);
    return message;
  }
}

/** What the client is asked with, without what a new conversation is created with. */
function parted({ create, onCreated, ...asked }) {
  return { asked, create, onCreated };
}
