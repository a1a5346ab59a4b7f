/** Splits text into events as the HTML standard says (section 9.2.6), wherever the chunks end. */
export class EventParser {
  #rest = "";
  #id = "";
  #data = [];

  /** @param {string} text @returns {{id: string, data: string}[]} the events that this completes */
  push(text) {
    const events = [];
    // A carriage return at the very end may have its line feed in the next chunk.
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = /** @type {string} */ (lines.pop());
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) events.push({ id: this.#id, data: this.#data.join("\n") });
        this.#data = [];
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon); // empty for a comment
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "data") this.#data.push(value);
      else if (field === "id") this.#id = value;
    }
    return events;
  }
}
