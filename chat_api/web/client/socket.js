import { Answer } from "./answer.js";
import { HUNG, REFUSED, UNAUTHENTICATED } from "./closes.js";
import { broken, refused, signedOut } from "./errors.js";
import { readStream } from "./stream.js";
import { DOUBTFUL_MS, OPENING_MS, PROBE_MS, REPLY_MS } from "./times.js";

const NOBODY = "00000000-0000-0000-0000-000000000000";

export async function readSocket(answer, link, pause) {
  const socket = await link.socket();
  pause.mended();
  if (!(await socket.read(answer, () => pause.reset()))) await readStream(answer, link, pause);
}

/**
 * One WebSocket, from its handshake to its end, after which it is of no use.
 *
 * The server has one subscription a conversation and socket. Here that is a room: the answers that are read by it,
 * and who stays. A command's acknowledgement comes before the events of what it began.
 */
export class Socket {
  #link;
  #socket;
  #token;
  #rooms = new Map();
  #asked = new Map();
  #refs = 0;
  #heardAt = Date.now();
  #isReady = false;
  #isProbing = false;
  #opening;
  #beat;
  #renewal;
  #unlisten;
  #settle = { ready: null, over: null };
  /** The close code, or HUNG; null while it lives. */
  code = null;

  constructor(link, url, token) {
    this.#link = link;
    this.#token = token;
    /** Until the server knows who we are. @type {Promise<void>} */
    this.ready = new Promise((resolve, reject) => (this.#settle.ready = { resolve, reject }));
    /** Rejects when it has ended. @type {Promise<never>} */
    this.over = new Promise((_, reject) => (this.#settle.over = reject));
    this.over.catch(() => {});
    const socket = (this.#socket = new WebSocket(url));
    socket.onopen = () => {
      this.#patience(REPLY_MS); // the auth service may be slow
      if (token !== null) this.#say({ type: "auth", token });
    };
    socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    socket.onclose = ({ code }) => this.end(code);
    this.#patience(OPENING_MS);
    this.#beat = setInterval(() => this.#rooms.size && this.#isDoubtful && this.#probe(), DOUBTFUL_MS);
    this.#unlisten = link.onWake((changed) => (changed || this.#isDoubtful) && this.#probe());
  }

  /** Read an answer to its end. False where it can't be read here: its subscription is past that place. */
  async read(answer, onBegun) {
    const room = this.#enter(answer.conversationId);
    try {
      if (answer.lastEventId === null) {
        const { kind, body, key } = answer.question;
        const type = kind === "messages" ? "send" : kind;
        const asked = { type, conversation_id: room.id, ...body, idempotency_key: key };
        const asking = this.#ask(asked);
        this.#joining(room, asking); // it subscribes, too
        room.answers.set((await asking).generation_id, answer);
        this.flush(room.id);
      } else {
        await this.#join(room);
      }
      if (![...room.answers.values()].includes(answer)) return false;
      onBegun();
      await Promise.race([answer.done.catch(() => {}), this.over]);
      return true;
    } finally {
      for (const [id, reader] of room.answers) if (reader === answer) room.answers.delete(id);
      this.#exit(room);
    }
  }

  /**
   * Give somebody what begins in a conversation, until it leaves; `look` finds what began before. `give` hands an
   * answer that begins to all who stay, and has it read.
   */
  async stay(following, look, give) {
    const room = this.#enter(following.conversationId);
    room.followings.add(following);
    room.give = give;
    try {
      await this.#join(room);
      await look();
      const left = new Promise((resolve) => following.signal.addEventListener("abort", resolve));
      if (!following.ended) await Promise.race([left, this.over]);
    } finally {
      room.followings.delete(following);
      this.#exit(room);
    }
  }

  /** Deliver what waited until a question was acknowledged or given up. */
  flush(conversationId) {
    for (const event of this.#rooms.get(conversationId)?.held.splice(0) ?? []) this.#deliver(event);
  }

  end(code) {
    if (this.code !== null) return;
    this.code = code;
    clearTimeout(this.#opening);
    clearInterval(this.#beat);
    clearTimeout(this.#renewal);
    this.#unlisten();
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    if (code === UNAUTHENTICATED && this.#isReady) this.#link.refuse(this.#token);
    const error = broken("the WebSocket has ended");
    this.#settle.ready.reject(code === UNAUTHENTICATED ? signedOut() : error);
    for (const { reject, timer } of this.#asked.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#settle.over(error);
  }

  #patience(milliseconds) {
    clearTimeout(this.#opening);
    this.#opening = setTimeout(() => this.end(HUNG), milliseconds);
  }

  get #isDoubtful() {
    return Date.now() - this.#heardAt > DOUBTFUL_MS;
  }

  #enter(id) {
    let room = this.#rooms.get(id);
    if (!room) {
      room = { id, joined: null, answers: new Map(), followings: new Set(), give: null, held: [], guests: 0 };
      this.#rooms.set(id, room);
    }
    room.guests++;
    return room;
  }

  #exit(room) {
    if (--room.guests) return;
    this.#rooms.delete(room.id);
    if (room.joined && this.code === null) this.#say({ type: "unsubscribe", ref: 0, conversation_id: room.id });
  }

  /** Subscribe, once: a second subscription would take the first one's place, and what that has not sent yet. */
  async #join(room) {
    await room.joined?.catch(() => {});
    await (room.joined ?? this.#joining(room, this.#subscribe(room)));
  }

  #joining(room, joined) {
    room.joined ??= joined;
    joined.catch(() => {
      if (room.joined === joined) room.joined = null;
    });
    return joined;
  }

  async #subscribe(room) {
    const read = this.#link.reading(room.id).find(({ lastEventId }) => lastEventId !== null);
    if (read) room.answers.set(read.generationId, read);
    const asked = { type: "subscribe", conversation_id: room.id, after: read?.lastEventId };
    const { generation_id } = await this.#ask(asked);
    if (read && generation_id !== read.generationId) room.answers.delete(read.generationId);
  }

  #hear(frame) {
    this.#heardAt = Date.now();
    if ("seq" in frame) this.#deliver(frame);
    else if (frame.type === "ready") this.#admitted();
    else this.#answered(frame);
  }

  #admitted() {
    clearTimeout(this.#opening);
    this.#isReady = true;
    this.#settle.ready.resolve();
    const life = this.#link.tokenLife;
    if (life !== null) this.#renewal = setTimeout(() => this.#renew(), life);
  }

  async #renew() {
    try {
      const token = await this.#link.token();
      this.#say({ type: "auth", token });
      this.#token = token;
    } catch {
      // the server will end this socket when the old one has expired, and then it is asked for again
    }
  }

  #answered({ type, ref, ...told }) {
    const asked = this.#asked.get(ref);
    this.#asked.delete(ref);
    clearTimeout(asked?.timer);
    if (type !== "error") asked?.resolve(told);
    else if (asked) asked.reject(refused(told));
    else if (!this.#isReady) {
      this.#settle.ready.reject(refused(told)); // the token can't be checked just now
      this.end(REFUSED);
    }
  }

  #deliver(event) {
    const room = this.#rooms.get(event.conversation_id);
    if (!room) return; // everybody has left
    const answer = room.answers.get(event.generation_id) ?? this.#adopt(room, event);
    try {
      answer?.take(event);
    } catch {
      this.end(REFUSED); // an event is missing: come back for it
    }
  }

  /** Who reads a generation that this room hasn't heard of yet, if anybody does. */
  #adopt(room, event) {
    const reading = this.#link.reading(room.id);
    if (reading.some(({ isOpen }) => isOpen)) {
      room.held.push(event); // it may be the answer to that question
      return null;
    }
    if (event.type !== "start") return null; // of one that was left
    let answer = reading.find(({ generationId }) => generationId === event.generation_id);
    if (!answer && room.followings.size) {
      answer = new Answer(room.id);
      answer.take(event);
      room.give(room.followings, answer, this.#link);
    }
    if (answer) room.answers.set(event.generation_id, answer);
    return answer;
  }

  /** A command, and its acknowledgement. Raises ChatError. */
  #ask(command, patience = REPLY_MS) {
    const ref = ++this.#refs;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.end(HUNG), patience);
      this.#asked.set(ref, { resolve, reject, timer });
      this.#say({ ref, ...command });
    });
  }

  /** Browsers don't show the server's pings: something is asked that costs nothing, to hear whether it is there. */
  async #probe() {
    if (!this.#isReady || this.#isProbing) return;
    this.#isProbing = true;
    try {
      await this.#ask({ type: "unsubscribe", conversation_id: NOBODY }, PROBE_MS);
    } catch {
      // it has ended, or was asked too much: both are seen elsewhere
    } finally {
      this.#isProbing = false;
    }
  }

  #say(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}
