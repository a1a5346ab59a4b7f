/** An async iterable of what has come and what comes; whoever begins late gets all from the first. */
export class Feed {
  #items = [];
  #waiting = [];
  #leaving = new AbortController();
  #failure = null;
  ended = false;

  /** Aborted when nobody wants to read on. */
  get signal() {
    return this.#leaving.signal;
  }

  get isEmpty() {
    return this.#items.length === 0;
  }

  async *[Symbol.asyncIterator]() {
    for (let place = 0; ; ) {
      while (place < this.#items.length) yield this.#items[place++];
      if (this.#failure) throw this.#failure;
      if (this.ended) return;
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Read no more. Nothing is stopped by it at the server. */
  leave() {
    this.end();
    this.#leaving.abort();
  }

  push(item) {
    this.#items.push(item);
    this.#wake();
  }

  /** Nothing comes any more. */
  end() {
    this.ended = true;
    this.#wake();
  }

  /** It can't be read on. @param {unknown} error */
  fail(error) {
    if (this.ended) return;
    this.#failure = error;
    this.leave();
  }

  #wake() {
    for (const resolve of this.#waiting.splice(0)) resolve(undefined);
  }
}
