import { Answer } from "./answer.js";
import { BROKEN_OFF, HUNG, ORIGIN_REFUSED, REFUSED } from "./closes.js";
import { ChatError, broken, foreign, isPassing, refusal, signedOut } from "./errors.js";
import { Following } from "./following.js";
import { Socket } from "./socket.js";
import { OPENING_MS, REQUEST_MS } from "./times.js";

/** The way to the service: its address, requests with the token, and how the connection is. */
export class Link {
  #base;
  #token;
  #emit;
  #wanted = "sse";
  #used = "sse";
  #isBlocked = false; // WebSockets are, while plain requests pass
  #failedUpgrades = 0;
  #opening = null;
  #socket = null;
  #status = "online";
  #isSignedOut = false;
  #troubled = new Set();
  #wakers = new Set();
  #feeds = new Set();
  #closing = new AbortController();

  constructor(baseUrl, token, emit) {
    this.#base = new URL(baseUrl, globalThis.document?.baseURI);
    if (!this.#base.pathname.endsWith("/")) this.#base.pathname += "/";
    this.#token = token;
    this.#emit = emit;
    this.#listen();
    this.#tell();
  }

  get status() {
    return this.#status;
  }

  get transport() {
    return this.#wanted === "ws" && !this.#isBlocked && "WebSocket" in globalThis ? "ws" : "sse";
  }

  set transport(wanted) {
    this.#wanted = wanted;
    this.#unblock();
    if (wanted === "sse") this.#socket?.end(REFUSED); // who reads by it goes on by streams
  }

  /** The WebSocket, opened where there is none. Raises ChatError. */
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

  async #open() {
    const url = new URL("api/ws", this.#base);
    url.protocol = url.protocol.replace("http", "ws");
    for (let renewed = false; ; renewed = true) {
      const token = await this.token();
      const socket = (this.#socket = new Socket(this, url, token));
      try {
        await socket.ready;
        this.#failedUpgrades = 0;
        this.#signedOut(false);
        return socket;
      } catch (error) {
        if (error.status === 0) await this.#suspect(socket.code);
        if (error.status !== 401) throw error;
        if (renewed || !this.#token.refuse(token)) throw this.#signedOut(true, error);
      }
    }
  }

  /** After a failed upgrade: where plain requests pass, a proxy blocks WebSockets, and streams are used from now on. */
  async #suspect(code) {
    if (![HUNG, BROKEN_OFF, ORIGIN_REFUSED].includes(code)) return; // the server said why
    if (!(await this.#passes())) this.#failedUpgrades = 0; // the network is down
    else if (++this.#failedUpgrades >= 2 || code !== BROKEN_OFF) {
      this.#isBlocked = true;
      this.#tellTransport();
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
    this.#tellTransport();
  }

  #tellTransport() {
    if (this.transport === this.#used) return;
    this.#used = this.transport;
    this.#emit("transport", this.#used);
  }

  /** A request whose answer is JSON, or nothing. Raises ChatError. */
  async json(method, path, body = null) {
    const response = await this.fetch(method, path, { body, signal: AbortSignal.timeout(REQUEST_MS) });
    if (response.status === 204) return null;
    if (!response.headers.get("Content-Type")?.includes("json")) throw foreign(response);
    try {
      return await response.json();
    } catch (error) {
      throw broken("the answer broke off", error);
    }
  }

  /** A request with a good token. Raises ChatError for whatever is no success. */
  async fetch(method, path, { body = null, signal, headers = {} }) {
    for (let renewed = false; ; renewed = true) {
      const token = await this.token();
      const given = new Headers(headers);
      if (token !== null) given.set("Authorization", `Bearer ${token}`);
      if (body !== null) given.set("Content-Type", "application/json");
      const text = body === null ? null : JSON.stringify(body);
      const request = { method, headers: given, body: text, signal, cache: /** @type {const} */ ("no-store") };
      const response = await this.#send(new URL(path, this.#base), request);
      if (response.status < 500 && response.status !== 401) this.#signedOut(false);
      if (response.ok) return response;
      const error = await refusal(response);
      if (error.status !== 401) throw error;
      if (renewed || !this.#token.refuse(token)) throw this.#signedOut(true, error);
    }
  }

  async #send(url, request) {
    try {
      return await fetch(url, request);
    } catch (error) {
      if (error?.name === "TimeoutError") throw new ChatError("timeout", "The service is too slow.", { cause: error });
      throw broken("the service can't be reached", error);
    }
  }

  /** Milliseconds until the token should be renewed; null: not known. */
  get tokenLife() {
    return this.#token.life;
  }

  /** The server has refused this one, or will. */
  refuse(token) {
    this.#token.refuse(token);
  }

  /** A token, or null where none is wanted. Raises ChatError. */
  async token() {
    let token;
    try {
      token = await this.#token.get();
    } catch (cause) {
      const error = new ChatError("token_unavailable", "There is no token: sign in again.", { cause });
      throw this.#signedOut(!isPassing(error, true), error);
    }
    // What no header can carry is no token: somebody has pasted more than it.
    if (token === null || /^[\x21-\x7e]+$/.test(token)) return token;
    this.#token.refuse(token); // the next call asks for another one
    throw this.#signedOut(true, signedOut());
  }

  /** Wait so long, or until the network or the page comes back, or until `signal`. */
  async sleep(milliseconds, signal) {
    if (signal.aborted) return;
    await new Promise((resolve) => {
      const timer = setTimeout(end, milliseconds);
      const stop = this.onWake(end);
      signal.addEventListener("abort", end);
      function end() {
        clearTimeout(timer);
        stop();
        signal.removeEventListener("abort", end);
        resolve(undefined);
      }
    });
  }

  /** Have something called when the page wakes up, with whether the network may be another one. */
  onWake(call) {
    this.#wakers.add(call);
    return () => this.#wakers.delete(call);
  }

  /** Remember an answer or a stay while it is driven. */
  list(feed) {
    const { conversationId } = feed;
    this.#feeds.add(feed);
    feed.done?.then(
      (done) => this.#in(conversationId, Following).forEach((following) => following.knows(done)),
      () => {},
    );
    return () => {
      this.#feeds.delete(feed);
      this.#socket?.flush(conversationId);
    };
  }

  /** The answers of a conversation that this client reads just now. */
  reading(conversationId) {
    return this.#in(conversationId, Answer).filter(({ ended }) => !ended);
  }

  #in(conversationId, kind) {
    return [...this.#feeds].filter((feed) => feed instanceof kind && feed.conversationId === conversationId);
  }

  troubled(who) {
    this.#troubled.add(who);
    this.#tell();
  }

  mended(who) {
    this.#troubled.delete(who);
    this.#tell();
  }

  #signedOut(isSignedOut, error = null) {
    this.#isSignedOut = isSignedOut;
    this.#tell();
    return error;
  }

  close() {
    this.#closing.abort();
    for (const feed of [...this.#feeds]) feed.leave();
    this.#socket?.end(REFUSED);
  }

  #tell() {
    let status = "online";
    if (this.#troubled.size) status = "reconnecting";
    if (globalThis.navigator?.onLine === false) status = "offline";
    if (this.#isSignedOut) status = "signed-out";
    if (status === this.#status) return;
    this.#status = status;
    this.#emit("status", status);
  }

  #listen() {
    const { signal } = this.#closing;
    const wake = (/** @type {boolean} */ changed) => [...this.#wakers].forEach((call) => call(changed));
    const on = (/** @type {any} */ target, /** @type {string} */ type, /** @type {() => void} */ call) =>
      target?.addEventListener?.(type, call, { signal });
    on(globalThis, "offline", () => this.#tell());
    on(globalThis, "online", () => {
      this.#tell();
      this.#unblock();
      wake(true);
    });
    on(globalThis, "pageshow", () => wake(false));
    on(globalThis.document, "resume", () => wake(false));
    on(globalThis.document, "visibilitychange", () => document.visibilityState === "visible" && wake(false));
  }
}
