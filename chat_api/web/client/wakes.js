/** Calls back when the page wakes up or the network returns. Connections are checked then, and waits end early. */
export class Wakes {
  #calls = new Set();

  /** @param {AbortSignal} signal stops listening */
  constructor(signal) {
    const wake = (/** @type {boolean} */ changed) => [...this.#calls].forEach((call) => call(changed));
    const on = (/** @type {any} */ target, /** @type {string} */ type, /** @type {() => void} */ call) =>
      target?.addEventListener?.(type, call, { signal });
    on(globalThis, "online", () => wake(true));
    on(globalThis, "pageshow", () => wake(false));
    on(globalThis.document, "resume", () => wake(false));
    on(globalThis.document, "visibilitychange", () => document.visibilityState === "visible" && wake(false));
  }

  /**
   * @param {(changed: boolean) => void} call `changed`: the network may be a different one
   * @returns {() => void} stops the calls
   */
  on(call) {
    this.#calls.add(call);
    return () => this.#calls.delete(call);
  }

  /** Wait this long, or until the page wakes up, the network comes back or `signal` is aborted. */
  async sleep(milliseconds, signal) {
    if (signal.aborted) return;
    await new Promise((resolve) => {
      const timer = setTimeout(end, milliseconds);
      const stop = this.on(end);
      signal.addEventListener("abort", end);
      function end() {
        clearTimeout(timer);
        stop();
        signal.removeEventListener("abort", end);
        resolve(undefined);
      }
    });
  }
}
