import { Answer } from "./answer.js";
import { REFUSED } from "./closes.js";

/**
 * One conversation on a WebSocket: the answers that are read in it, and its followings.
 *
 * The server has one subscription for each conversation and socket. All users of a room share it. A command's
 * acknowledgement comes before the events that the command causes.
 */
export class Room {
  #socket;
  #link;
  #joined = null;
  #answers = new Map(); // by generation id
  #followings = new Map(); // with the function that makes each look again
  #give = null;
  #held = []; // events that may belong to a question that isn't acknowledged yet
  #users = 0;

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

  /** Whether there is a subscription, or one is being made. */
  get isJoined() {
    return this.#joined !== null;
  }

  /** Read an answer to its end. Returns false if it can't be read here: the subscription is past its place. */
  async read(answer, onBegun) {
    this.#users++;
    try {
      if (answer.lastEventId === null) {
        const { kind, body, key } = answer.question;
        const type = kind === "messages" ? "send" : kind;
        const asking = this.#socket.ask({ type, conversation_id: this.id, ...body, idempotency_key: key });
        this.#joining(asking); // asking subscribes, too
        const { generation_id, queued } = await asking;
        if (queued) answer.wait(queued);
        else this.#answers.set(generation_id, answer);
        this.flush();
        if (queued) return true;
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
   * Give `following` the answers that begin in the conversation, until it is left. `look` finds one that began before,
   * and tells of other changes: it is called first, and again after each change that comes, one call at a time. `give`
   * hands an answer to all followings and starts reading it.
   */
  async follow(following, { look, give }) {
    this.#users++;
    this.#followings.set(following, () => {});
    this.#give = give;
    const left = new Promise((resolve) => following.signal.addEventListener("abort", resolve));
    try {
      await this.#join();
      while (!following.ended) {
        const changed = new Promise((resolve) => this.#followings.set(following, () => resolve(undefined)));
        await look();
        await Promise.race([changed, left, this.#socket.over]);
      }
    } finally {
      this.#followings.delete(following);
      this.#exit();
    }
  }

  /** Hand an event to its answer. */
  deliver(event) {
    const answer = this.#answers.get(event.generation_id) ?? this.#adopt(event);
    try {
      answer?.take(event);
    } catch {
      this.#socket.end(REFUSED); // an event is missing: connect again and continue from there
    }
  }

  /** The conversation has changed otherwise than by a new answer. */
  changed() {
    for (const lookAgain of this.#followings.values()) lookAgain();
  }

  /** Deliver the events that were held until a question was acknowledged or given up. */
  flush() {
    for (const event of this.#held.splice(0)) this.deliver(event);
  }

  #exit() {
    if (--this.#users === 0) this.#socket.leave(this);
  }

  /** Subscribe, once: a second subscription would replace the first, whose unsent events would be lost. */
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

  /** The answer for a generation that is new to this room; null if nobody reads it. */
  #adopt(event) {
    const reading = this.#link.reading(this.id);
    if (reading.some(({ isOpen }) => isOpen)) {
      this.#held.push(event); // it may be the answer to that question
      return null;
    }
    if (event.type !== "start") return null; // the caller has left its answer
    let answer = reading.find(({ generationId }) => generationId === event.generation_id);
    if (!answer && this.#followings.size) {
      answer = new Answer(this.id);
      answer.take(event);
      this.#give([...this.#followings.keys()], answer, this.#link);
    }
    if (answer) this.#answers.set(event.generation_id, answer);
    return answer;
  }
}
