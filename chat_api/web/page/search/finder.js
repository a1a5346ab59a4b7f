// A search by the service, as the reader types: the newest request ends the older ones, so that none of their answers is
// shown over a newer one.

import { isUnreachable, networkIsBack } from "../reader/network.js";

const PAUSE_MS = 200; // between the last key and the request
const LIMIT = 30; // hits of a request
const PAGES = 4; // looked through before the reader is asked whether to look further back
const OFF = ["search_off", "not_found"]; // a service that is older than this page has no search either
const LONGEST_WAIT = 60; // seconds that a refused search may wait for its turn

/**
 * `state`: `idle`; `looking`; `found`, whether or not there were hits; `waiting`, for its turn; `offline`; `failed`, with
 * `error`; `off`: the service doesn't search.
 */
export class Finder {
  #chat;
  #changed;
  #looking = new AbortController();
  #cursor = null;
  state = "idle";
  error = null;
  words = ""; // what `hits` were found by
  hits = [];
  wait = 0; // seconds, in the state `waiting`

  /** @param {import("../../client.js").ChatClient} chat @param {() => void} changed */
  constructor(chat, changed) {
    this.#chat = chat;
    this.#changed = changed;
  }

  /** Whether there is more to look through. */
  get hasMore() {
    return this.#cursor !== null;
  }

  /** Look for these words; "" ends the search. @param {string} words */
  async look(words) {
    const signal = this.#begin();
    if (words === "" || this.state === "off") {
      this.hits = [];
      this.words = "";
      this.#become(this.state === "off" ? "off" : "idle");
      return;
    }
    this.#become("looking");
    await pause(PAUSE_MS, signal);
    await this.#go(words, null, signal);
  }

  /** Look further back. */
  async more() {
    const signal = this.#begin();
    this.#become("looking");
    await this.#go(this.words, this.#cursor, signal);
  }

  /** Look once more for the same. @param {string} words */
  async again(words) {
    const signal = this.#begin();
    this.#become("looking");
    const isFurther = words === this.words && this.hasMore;
    await this.#go(words, isFurther ? this.#cursor : null, signal);
  }

  #begin() {
    this.#looking.abort();
    this.#looking = new AbortController();
    return this.#looking.signal;
  }

  async #go(words, cursor, signal) {
    for (let page = 0; page < PAGES && !signal.aborted; page++) {
      const found = await this.#ask(words, cursor, signal);
      if (found === null) return;
      this.hits = cursor === null ? found.items : [...this.hits, ...found.items];
      this.words = words;
      this.#cursor = cursor = found.next_cursor;
      if (cursor === null || found.items.some((hit) => hit.message_id !== null)) break;
      this.#become("looking");
    }
    if (!signal.aborted) this.#become("found");
  }

  /** A page; null: there is none, which was told, or nobody waits for it. */
  async #ask(words, cursor, signal) {
    for (;;) {
      try {
        if (signal.aborted) return null;
        const found = await this.#chat.search(words, { limit: LIMIT, cursor, signal });
        return signal.aborted ? null : found;
      } catch (error) {
        if (signal.aborted) return null;
        if (!(await this.#mayTryAgain(error, signal))) return null;
      }
    }
  }

  async #mayTryAgain(error, signal) {
    if (isUnreachable(error)) {
      this.#become("offline");
      await networkIsBack(signal);
      return true;
    }
    if (error.status === 429 && (error.retryAfter ?? 1) <= LONGEST_WAIT) {
      this.wait = Math.ceil(error.retryAfter ?? 1);
      this.#become("waiting");
      await pause(this.wait * 1000, signal);
      return true;
    }
    this.#become(OFF.includes(error.code) ? "off" : "failed", error);
    return false;
  }

  #become(state, error = null) {
    this.state = state;
    this.error = error;
    this.#changed();
  }
}

/** Wait, unless `signal` is aborted. */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve(undefined)));
  });
}
