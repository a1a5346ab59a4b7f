import { HUNG, REFUSED, UNAUTHENTICATED } from "./closes.js";
import { broken, refused, signedOut } from "./errors.js";
import { Room } from "./room.js";
import { DOUBTFUL_MS, OPENING_MS, PROBE_MS, REPLY_MS } from "./times.js";

const NOBODY = "00000000-0000-0000-0000-000000000000"; // no conversation has this id

/**
 * One WebSocket, from its handshake to its end. It isn't reopened.
 *
 * It carries commands, each with its acknowledgement, and events, which go to their conversation's Room.
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
  /** Why it ended, see closes.js; null while it is open. */
  code = null;

  constructor(link, url, token) {
    this.#link = link;
    this.#token = token;
    /** Resolves when the server has accepted the token. @type {Promise<void>} */
    this.ready = new Promise((resolve, reject) => (this.#settle.ready = { resolve, reject }));
    /** Rejects when it has ended. @type {Promise<never>} */
    this.over = new Promise((_, reject) => (this.#settle.over = reject));
    this.over.catch(() => {});
    const socket = (this.#socket = new link.WebSocket(url.href));
    socket.onopen = () => {
      this.#patience(REPLY_MS); // the auth service may be slow
      if (token !== null) this.#say({ type: "auth", token });
    };
    socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    socket.onclose = ({ code }) => this.end(code);
    this.#patience(OPENING_MS);
    this.#beat = setInterval(() => this.#rooms.size && this.#isDoubtful && this.#probe(), DOUBTFUL_MS);
    this.#unlisten = link.wakes.on((changed) => (changed || this.#isDoubtful) && this.#probe());
  }

  /** Read an answer to its end, in its conversation's room. Resolves to false if it can't be read there. */
  read(answer, onBegun) {
    return this.#room(answer.conversationId).read(answer, onBegun);
  }

  /** Give `following` the answers that begin in its conversation, as its room does. */
  follow(following, calls) {
    return this.#room(following.conversationId).follow(following, calls);
  }

  /** Deliver the events that a conversation's room holds back. */
  flush(conversationId) {
    this.#rooms.get(conversationId)?.flush();
  }

  #room(id) {
    let room = this.#rooms.get(id);
    if (!room) this.#rooms.set(id, (room = new Room(id, this, this.#link)));
    return room;
  }

  /** Give up a room that nobody uses any more. */
  leave(room) {
    this.#rooms.delete(room.id);
    if (room.isJoined && this.code === null) this.#say({ type: "unsubscribe", ref: 0, conversation_id: room.id });
  }

  /** Close it and reject everything that waits for it. @param {number | string} code see closes.js */
  end(code) {
    if (this.code !== null) return;
    this.code = code;
    clearTimeout(this.#opening);
    clearInterval(this.#beat);
    clearTimeout(this.#renewal);
    this.#unlisten();
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    if (code === UNAUTHENTICATED && this.#isReady) this.#link.requests.refuse(this.#token);
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

  #hear(frame) {
    this.#heardAt = Date.now();
    if ("seq" in frame) this.#rooms.get(frame.conversation_id)?.deliver(frame); // no room: nobody reads it any more
    else if (frame.type === "ready") this.#admitted();
    else if (frame.type === "changed") this.#rooms.get(frame.conversation_id)?.changed();
    else this.#answered(frame);
  }

  #admitted() {
    clearTimeout(this.#opening);
    this.#isReady = true;
    this.#settle.ready.resolve();
    const life = this.#link.requests.tokenLife;
    if (life !== null) this.#renewal = setTimeout(() => this.#renew(), life);
  }

  async #renew() {
    try {
      const token = await this.#link.requests.token();
      this.#say({ type: "auth", token });
      this.#token = token;
    } catch {
      // the server closes this socket when the old token expires; the next socket asks for a token again
    }
  }

  #answered({ type, ref, ...fields }) {
    const asked = this.#asked.get(ref);
    this.#asked.delete(ref);
    clearTimeout(asked?.timer);
    if (type !== "error") asked?.resolve(fields);
    else if (asked) asked.reject(refused(fields));
    else if (!this.#isReady) {
      this.#settle.ready.reject(refused(fields)); // the token can't be checked right now
      this.end(REFUSED);
    }
  }

  /** Send a command. Resolves to its acknowledgement; rejects with a ChatError. */
  ask(command, patience = REPLY_MS) {
    const ref = ++this.#refs;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.end(HUNG), patience);
      this.#asked.set(ref, { resolve, reject, timer });
      this.#say({ ref, ...command });
    });
  }

  /** Send a command that costs nothing, to see whether the server responds. Browsers don't show its pings. */
  async #probe() {
    if (!this.#isReady || this.#isProbing) return;
    this.#isProbing = true;
    try {
      await this.ask({ type: "unsubscribe", conversation_id: NOBODY }, PROBE_MS);
    } catch {
      // the socket has ended, or the command was refused: both are handled elsewhere
    } finally {
      this.#isProbing = false;
    }
  }

  #say(message) {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}
