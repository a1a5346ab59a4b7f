/** The connection's status: "online", "reconnecting", "offline" or "signed-out". */
export class Status {
  #emit;
  #value = "online";
  #isSignedOut = false;
  #disconnected = new Set();

  /** @param {(value: string) => void} emit called with each new status @param {AbortSignal} signal stops listening */
  constructor(emit, signal) {
    this.#emit = emit;
    for (const type of ["offline", "online"]) globalThis.addEventListener?.(type, () => this.#update(), { signal });
    this.#update();
  }

  get value() {
    return this.#value;
  }

  /** @param {object} who has lost its connection, for example an answer's Pause */
  disconnected(who) {
    this.#disconnected.add(who);
    this.#update();
  }

  /** @param {object} who has its connection back */
  restored(who) {
    this.#disconnected.delete(who);
    this.#update();
  }

  /** Whether the service has refused the token and there is no other one. */
  set isSignedOut(isSignedOut) {
    this.#isSignedOut = isSignedOut;
    this.#update();
  }

  #update() {
    let value = "online";
    if (this.#disconnected.size) value = "reconnecting";
    if (globalThis.navigator?.onLine === false) value = "offline";
    if (this.#isSignedOut) value = "signed-out";
    if (value === this.#value) return;
    this.#value = value;
    this.#emit(value);
  }
}
