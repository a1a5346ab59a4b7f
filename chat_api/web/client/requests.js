import { ChatError, broken, foreign, isTransient, refusal, signedOut } from "./errors.js";
import { REQUEST_MS } from "./times.js";

/** HTTP requests to the service. When it refuses the token, a request is sent once more with a new one. */
export class Requests {
  #base;
  #token;
  #status;

  /**
   * @param {URL} base where `api/` is
   * @param {import("./token.js").Token} token
   * @param {import("./status.js").Status} status set when the user is signed in or out
   */
  constructor(base, token, status) {
    this.#base = base;
    this.#token = token;
    this.#status = status;
  }

  /** A request whose response is JSON or empty (null). Throws a ChatError. */
  async json(method, path, body = null, headers = {}) {
    const response = await this.fetch(method, path, { body, headers, signal: AbortSignal.timeout(REQUEST_MS) });
    if (response.status === 204) return null;
    if (!response.headers.get("Content-Type")?.includes("json")) throw foreign(response);
    try {
      return await response.json();
    } catch (error) {
      throw broken("the response broke off", error);
    }
  }

  /** A request with a valid token. Throws a ChatError unless the response is a success. */
  async fetch(method, path, { body = null, signal, headers = {} }) {
    for (let renewed = false; ; renewed = true) {
      const token = await this.token();
      const given = new Headers(headers);
      if (token !== null) given.set("Authorization", `Bearer ${token}`);
      if (body !== null) given.set("Content-Type", "application/json");
      const text = body === null ? null : JSON.stringify(body);
      const request = { method, headers: given, body: text, signal, cache: /** @type {const} */ ("no-store") };
      const response = await this.#send(new URL(path, this.#base), request);
      if (response.status < 500 && response.status !== 401) this.#status.isSignedOut = false;
      if (response.ok) return response;
      const error = await refusal(response);
      if (error.status !== 401) throw error;
      if (!renewed && this.refuse(token)) continue;
      this.#status.isSignedOut = true;
      throw error;
    }
  }

  async #send(url, request) {
    try {
      return await fetch(url, request);
    } catch (error) {
      if (error?.name === "TimeoutError") {
        throw new ChatError("timeout", "The service took too long to respond.", { cause: error });
      }
      throw broken("the service can't be reached", error);
    }
  }

  /** Milliseconds until the token should be renewed; null: not known. */
  get tokenLife() {
    return this.#token.life;
  }

  /** The server has refused this token, or will. Returns whether another one can be fetched. */
  refuse(token) {
    return this.#token.refuse(token);
  }

  /** The token, or null if there is none to send. Throws a ChatError. */
  async token() {
    let token;
    try {
      token = await this.#token.get();
    } catch (cause) {
      const error = new ChatError("token_unavailable", "There is no token. Sign in again.", { cause });
      this.#status.isSignedOut = !isTransient(error, true);
      throw error;
    }
    // Something that a header can't carry is no token. Perhaps more than the token was pasted.
    if (token === null || /^[\x21-\x7e]+$/.test(token)) return token;
    this.refuse(token); // the next call asks for another one
    this.#status.isSignedOut = true;
    throw signedOut();
  }
}
