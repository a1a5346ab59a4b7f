// What the reader deleted and may still undo. It is noted for good, because a page that is closed before the time is
// over can't be sure of its last request.

import { isAway, networkIsBack } from "../reader/network.js";
import { lasting } from "../reader/preferences.js";

export const UNDO_SECONDS = 7;

/** Deletions on their way: hidden already, done in a while. */
export class Deletions {
  #leaving = new Set();
  #gone = new Set(); // hidden for ever: a list that was asked for before may still name them
  #remove;
  #changed;

  /**
   * @param {(id: string) => Promise<void>} remove at the service
   * @param {() => void} changed called when one comes or goes
   */
  constructor(remove, changed) {
    this.#remove = remove;
    this.#changed = changed;
    addEventListener("pagehide", () => this.#leaving.forEach((id) => this.commit(id).catch(() => {}))); // nobody to tell
  }

  /** Whether it is on its way out, or gone. */
  has(id) {
    return this.#leaving.has(id) || this.#gone.has(id);
  }

  begin(id) {
    this.#note(id, true);
  }

  undo(id) {
    if (this.#leaving.has(id)) this.#note(id, false);
  }

  /** Do it, as soon as there is a network. Rejects where it is refused: then the conversation is there again. */
  async commit(id) {
    while (this.#leaving.has(id)) {
      try {
        await this.#remove(id);
        this.#gone.add(id);
        this.#note(id, false);
      } catch (error) {
        if (!isAway(error)) {
          this.#note(id, false);
          throw error;
        }
        await networkIsBack();
      }
    }
  }

  /** Do what an earlier page promised. Another tab may still be asking whether to. */
  keepPromises() {
    for (const [id, since] of Object.entries(noted())) {
      if (this.#leaving.has(id) || Date.now() - since < 2 * UNDO_SECONDS * 1000) continue;
      this.#leaving.add(id);
      this.commit(id).catch(() => {}); // it is shown again, as it is there
    }
  }

  #note(id, isLeaving) {
    const { [id]: _, ...others } = noted();
    lasting.set("leaving", JSON.stringify(isLeaving ? { ...others, [id]: Date.now() } : others));
    if (isLeaving) this.#leaving.add(id);
    else this.#leaving.delete(id);
    this.#changed();
  }
}

/** When each was deleted, by id. */
function noted() {
  try {
    return JSON.parse(lasting.get("leaving") ?? "{}");
  } catch {
    return {}; // not ours
  }
}
