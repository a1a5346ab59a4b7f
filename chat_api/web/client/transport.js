import { BROKEN_OFF, HUNG, ORIGIN_REFUSED, REFUSED } from "./closes.js";
import { Socket } from "./socket.js";
import { OPENING_MS } from "./times.js";

/** The transport in use, with its WebSocket if there is one. */
export class Transport {
  #base;
  #link;
  #emit;
  #wanted = "sse";
  #used = "sse";
  #isBlocked = false; // WebSockets are blocked, plain requests pass
  #failedUpgrades = 0;
  #opening = null;
  #socket = null;

  /**
   * @param {URL} base where `api/` is
   * @param {import("./link.js").Link} link
   * @param {(used: string) => void} emit called when the transport in use changes
   */
  constructor(base, link, emit) {
    this.#base = base;
    this.#link = link;
    this.#emit = emit;
    link.wakes.on((changed) => changed && this.#unblock());
  }

  /** "sse" or "ws": the transport in use. */
  get used() {
    return this.#wanted === "ws" && !this.#isBlocked && this.#link.WebSocket ? "ws" : "sse";
  }

  want(wanted) {
    this.#wanted = wanted;
    this.#unblock();
    if (wanted === "sse") this.end(); // the socket's readers go on with streams
  }

  /** The WebSocket, opened if there is none. Throws a ChatError. */
  socket() {
    if (this.#opening === null) {
      const opening = (this.#opening = this.#open());
      const forget = () => {
        if (this.#opening === opening) this.#opening = null;
      };
      opening.then((socket) => socket.over.catch(forget), forget);
    }
    return this.#opening;
  }

  /** Deliver the events that a conversation's room holds back. */
  flush(conversationId) {
    this.#socket?.flush(conversationId);
  }

  end() {
    this.#socket?.end(REFUSED);
  }

  async #open() {
    const { requests, status } = this.#link;
    const url = new URL("api/ws", this.#base);
    url.protocol = url.protocol.replace("http", "ws");
    for (let renewed = false; ; renewed = true) {
      const token = await requests.token();
      const socket = (this.#socket = new Socket(this.#link, url, token));
      try {
        await socket.ready;
        this.#failedUpgrades = 0;
        status.isSignedOut = false;
        return socket;
      } catch (error) {
        if (error.status === 0) await this.#suspect(socket.code);
        if (error.status !== 401) throw error;
        if (!renewed && requests.refuse(token)) continue;
        status.isSignedOut = true;
        throw error;
      }
    }
  }

  /** After a failed upgrade: if plain requests pass, a proxy blocks WebSockets, and streams are used from now on. */
  async #suspect(code) {
    if (![HUNG, BROKEN_OFF, ORIGIN_REFUSED].includes(code)) return; // the server gave a reason
    if (!(await this.#passes())) this.#failedUpgrades = 0; // the network is down
    else if (++this.#failedUpgrades >= 2 || code !== BROKEN_OFF) {
      this.#isBlocked = true;
      this.#update();
    }
  }

  async #passes() {
    const signal = AbortSignal.timeout(OPENING_MS);
    try {
      return (await fetch(new URL("api/health", this.#base), { cache: "no-store", signal })).ok;
    } catch {
      return false;
    }
  }

  #unblock() {
    this.#isBlocked = false;
    this.#failedUpgrades = 0;
    this.#update();
  }

  #update() {
    if (this.used === this.#used) return;
    this.#used = this.used;
    this.#emit(this.#used);
  }
}
