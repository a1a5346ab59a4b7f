import { Answer } from "./answer.js";
import { REFUSED } from "./closes.js";

/**
 * One conversation on a WebSocket: the answers that are read by it, and who stays.
 *
 * The server has one subscription a conversation and socket, which all of a room's guests share. A command's
 * acknowledgement comes before the events of what it began.
 */
export class Room {
  #socket;
  #link;
  #joined = null;
  #answers = new Map(); // by their generations
  #followings = new Set();
  #give = null;
  #held = []; // events that came before it was known whose they are
  #guests = 0;

  /**
   * @param {string} id the conversation's
   * @param {import("./socket.js").Socket} socket
   * @param {import("./link.js").Link} link
   */
  constructor(id, socket, link) {
    this.id = id;
    this.#socket = socket;
    this.#link = link;
  }

  /** Whether there is a subscription, or one is asked for. */
  get isJoined() {
    return this.#joined !== null;
  }

  /** Read an answer to its end. False where it can't be read here: its subscription is past that place. */
  async read(answer, onBegun) {
    this.#guests++;
    try {
      if (answer.lastEventId === null) {
        const { kind, body, key } = answer.question;
        const type = kind === "messages" ? "send" : kind;
        const asking = this.#socket.ask({ type, conversation_id: this.id, ...body, idempotency_key: key });
        this.#joining(asking); // it subscribes, too
        this.#answers.set((await asking).generation_id, answer);
        this.flush();
      } else {
        await this.#join();
      }
      if (![...this.#answers.values()].includes(answer)) return false;
      onBegun();
      await Promise.race([answer.done.catch(() => {}), this.#socket.over]);
      return true;
    } finally {
      for (const [id, reader] of this.#answers) if (reader === answer) this.#answers.delete(id);
      this.#exit();
    }
  }

  /**
   * Give somebody what begins in the conversation, until it leaves; `look` finds what began before. `give` hands an
   * answer that begins to all who stay, and has it read.
   */
  async stay(following, look, give) {
    this.#guests++;
    this.#followings.add(following);
    this.#give = give;
    try {
      await this.#join();
      await look();
      const left = new Promise((resolve) => following.signal.addEventListener("abort", resolve));
      if (!following.ended) await Promise.race([left, this.#socket.over]);
    } finally {
      this.#followings.delete(following);
      this.#exit();
    }
  }

  /** Take an event that came. */
  deliver(event) {
    const answer = this.#answers.get(event.generation_id) ?? this.#adopt(event);
    try {
      answer?.take(event);
    } catch {
      this.#socket.end(REFUSED); // an event is missing: come back for it
    }
  }

  /** Deliver what waited until a question was acknowledged or given up. */
  flush() {
    for (const event of this.#held.splice(0)) this.deliver(event);
  }

  #exit() {
    if (--this.#guests === 0) this.#socket.leave(this);
  }

  /** Subscribe, once: a second subscription would take the first one's place, and what that has not sent yet. */
  async #join() {
    await this.#joined?.catch(() => {});
    await (this.#joined ?? this.#joining(this.#subscribe()));
  }

  #joining(joined) {
    this.#joined ??= joined;
    joined.catch(() => {
      if (this.#joined === joined) this.#joined = null;
    });
    return joined;
  }

  async #subscribe() {
    const read = this.#link.reading(this.id).find(({ lastEventId }) => lastEventId !== null);
    if (read) this.#answers.set(read.generationId, read);
    const asked = { type: "subscribe", conversation_id: this.id, after: read?.lastEventId };
    const { generation_id } = await this.#socket.ask(asked);
    if (read && generation_id !== read.generationId) this.#answers.delete(read.generationId);
  }

  /** Who reads a generation that this room hasn't heard of yet, if anybody does. */
  #adopt(event) {
    const reading = this.#link.reading(this.id);
    if (reading.some(({ isOpen }) => isOpen)) {
      this.#held.push(event); // it may be the answer to that question
      return null;
    }
    if (event.type !== "start") return null; // of one that was left
    let answer = reading.find(({ generationId }) => generationId === event.generation_id);
    if (!answer && this.#followings.size) {
      answer = new Answer(this.id);
      answer.take(event);
      this.#give(this.#followings, answer, this.#link);
    }
    if (answer) this.#answers.set(event.generation_id, answer);
    return answer;
  }
}
