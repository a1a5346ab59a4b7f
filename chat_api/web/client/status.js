/** How the connection is: "online", "reconnecting", "offline" or "signed-out". */
export class Status {
  #emit;
  #value = "online";
  #isSignedOut = false;
  #troubled = new Set();

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
  troubled(who) {
    this.#troubled.add(who);
    this.#update();
  }

  /** @param {object} who has its connection back */
  mended(who) {
    this.#troubled.delete(who);
    this.#update();
  }

  /** Whether the service has refused the token and there is no other one. */
  set isSignedOut(isSignedOut) {
    this.#isSignedOut = isSignedOut;
    this.#update();
  }

  #update() {
    let value = "online";
    if (this.#troubled.size) value = "reconnecting";
    if (globalThis.navigator?.onLine === false) value = "offline";
    if (this.#isSignedOut) value = "signed-out";
    if (value === this.#value) return;
    this.#value = value;
    this.#emit(value);
  }
}
