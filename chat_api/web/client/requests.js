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

  /**
   * A request whose response is JSON or empty (null). Throws a ChatError.
   * @param {string} method @param {string} path @param {any} [body] @param {Record<string, string>} [headers]
   * @param {AbortSignal} [signal] ends it before its time
   */
  async json(method, path, body = null, headers = {}, signal) {
    const response = await this.fetch(method, path, { body, headers, signal: within(REQUEST_MS, signal) });
    if (response.status === 204) return null;
    if (!response.headers.get("Content-Type")?.includes("json")) throw foreign(response);
    try {
      return await response.json();
    } catch (error) {
      throw broken("the response broke off", error);
    }
  }

  /**
   * A request with a valid token. Throws a ChatError unless the response is a success.
   * @param {string} method @param {string} path
   * @param {{body?: any, file?: any, signal?: AbortSignal, headers?: Record<string, string>,
   *          by?: (url: URL, request: any) => Promise<Response>}} options
   *   `body`: becomes JSON; `file`: is sent as it is; `by`: sends it in place of fetch
   */
  async fetch(method, path, { body = null, file = null, signal, headers = {}, by = (url, request) => fetch(url, request) }) {
    for (let renewed = false; ; renewed = true) {
      const token = await this.token();
      const given = new Headers(headers);
      if (token !== null) given.set("Authorization", `Bearer ${token}`);
      if (body !== null) given.set("Content-Type", "application/json");
      const sent = body === null ? file : JSON.stringify(body);
      const request = { method, headers: given, body: sent, signal, cache: /** @type {const} */ ("no-store") };
      const response = await this.#send(by, new URL(path, this.#base), request);
      if (response.status < 500 && response.status !== 401) this.#status.isSignedOut = false;
      if (response.ok) return response;
      const error = await refusal(response);
      if (error.status !== 401) throw error;
      if (!renewed && this.refuse(token)) continue;
      this.#status.isSignedOut = true;
      throw error;
    }
  }

  async #send(by, url, request) {
    try {
      return await by(url, request);
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

/** A signal that is aborted after some time, or with another one. AbortSignal.any is too new for some browsers. */
function within(ms, signal) {
  const late = AbortSignal.timeout(ms);
  if (!signal) return late;
  const either = new AbortController();
  for (const each of [late, signal]) {
    const abort = () => either.abort(each.reason);
    if (each.aborted) abort();
    else each.addEventListener("abort", abort, { signal: either.signal });
  }
  return either.signal;
}
