const LINGER_MS = 1000; // an effect that runs twice, or a page that is exchanged for another, loads nothing again
const LATE_MS = 250; // a tab that was hidden meanwhile draws no frame
const HIDDEN_MS = 100;

/** Something that React reads: what it shows changes once a frame, and it works while somebody reads it. */
export class Store {
  #listeners = new Set();
  #shown = null;
  #isDue = false;
  #resting;

  /** @param {() => void} listener @returns {() => void} */
  subscribe = (listener) => {
    clearTimeout(this.#resting);
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) this.begin();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#resting = setTimeout(() => this.rest(), LINGER_MS);
    };
  };

  /** What is shown: the same object until the next frame. */
  snapshot = () => (this.#shown ??= this.look());

  /** Show what has changed in the next frame. */
  changed() {
    if (this.#isDue) return;
    this.#isDue = true;
    inNextFrame(() => {
      this.#isDue = false;
      this.#shown = this.look();
      for (const listener of [...this.#listeners]) listener();
    });
  }

  /** Somebody reads it, perhaps still. */
  begin() {}

  /** Nobody has read it for a while. */
  rest() {}

  /** What there is to see now. @returns {any} */
  look() {}
}

function inNextFrame(call) {
  if (!globalThis.requestAnimationFrame || globalThis.document?.hidden) return void setTimeout(call, HIDDEN_MS);
  const once = () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
    call();
  };
  const frame = requestAnimationFrame(once);
  const timer = setTimeout(once, LATE_MS);
}

/** @param {number} milliseconds */
export function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
