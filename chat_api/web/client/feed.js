/** An async iterable of items. Each iteration starts with the first item, however late it begins. */
export class Feed {
  #items = [];
  #waiting = [];
  #leaving = new AbortController();
  #failure = null;
  ended = false;

  /** Aborted by `leave` and `fail`. */
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

  /** Stop reading. This stops nothing on the server. */
  leave() {
    this.end();
    this.#leaving.abort();
  }

  push(item) {
    this.#items.push(item);
    this.#wake();
  }

  /** No more items will come. */
  end() {
    this.ended = true;
    this.#wake();
  }

  /** End with an error, which the iterators throw. @param {unknown} error */
  fail(error) {
    if (this.ended) return;
    this.#failure = error;
    this.leave();
  }

  #wake() {
    for (const resolve of this.#waiting.splice(0)) resolve(undefined);
  }
}
