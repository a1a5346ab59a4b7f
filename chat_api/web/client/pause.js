import { FIRST_PAUSE_MS, LONGEST_PAUSE_MS } from "./times.js";

/** The waits between tries. The client's status is "reconnecting" from the first failure to the next success. */
export class Pause {
  #link;
  #signal;
  #next = FIRST_PAUSE_MS;

  constructor(link, signal) {
    this.#link = link;
    this.#signal = signal;
  }

  /** Note that the connection is restored, or no longer needed. */
  restored() {
    this.#link.status.restored(this);
  }

  /** Make the next wait short again, because the connection works. */
  reset() {
    this.#next = FIRST_PAUSE_MS;
  }

  /** Wait before the next try. @param {number | null} retryAfter seconds that the server asks for */
  async wait(retryAfter) {
    this.#link.status.disconnected(this);
    const jittered = this.#next * (0.5 + Math.random() / 2);
    this.#next = Math.min(this.#next * 2, LONGEST_PAUSE_MS);
    await this.#link.wakes.sleep(Math.max(jittered, (retryAfter ?? 0) * 1000), this.#signal);
  }
}
