import { isTransient } from "../client/errors.js";
import { sleep } from "./store.js";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

/** One load at a time, and one more if it was asked for meanwhile. */
export class Loading {
  #load;
  #running = null;
  isAsked = false; // what is being loaded may be old already

  /** @param {() => Promise<void>} load rejects with what went wrong, and is tried again while the service is away */
  constructor(load) {
    this.#load = load;
  }

  /** Load after all that was heard by now. Never rejects. */
  ask() {
    this.isAsked = true;
    this.#running ??= this.#run().finally(() => (this.#running = null));
    return this.#running;
  }

  async #run() {
    for (let pause = FIRST_PAUSE_MS; this.isAsked; ) {
      this.isAsked = false;
      try {
        await this.#load();
      } catch (error) {
        if (!isTransient(error, true)) return;
        this.isAsked = true;
        await sleep(pause * (0.5 + Math.random() / 2));
        pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
      }
    }
  }
}
