// Deletions that the reader may still undo. They are kept in storage, because a page that is closed in the meantime
// can't be sure that its last request arrives.

import { isUnreachable, networkIsBack } from "../reader/network.js";
import { lasting } from "../reader/preferences.js";

export const UNDO_SECONDS = 7;

/** Pending deletions: hidden at once, deleted later. */
export class Deletions {
  #leaving = new Set();
  #gone = new Set(); // deleted: a list that was requested before may still contain them
  #remove;
  #changed;

  /**
   * @param {(id: string) => Promise<void>} remove deletes it at the service
   * @param {() => void} changed called when a deletion begins or ends
   */
  constructor(remove, changed) {
    this.#remove = remove;
    this.#changed = changed;
    // A failure isn't shown, because the page is gone.
    addEventListener("pagehide", () => this.#leaving.forEach((id) => this.commit(id).catch(() => {})));
  }

  /** Whether it is being deleted, or has been. */
  has(id) {
    return this.#leaving.has(id) || this.#gone.has(id);
  }

  /** Note that it was deleted elsewhere. */
  gone(id) {
    this.#gone.add(id);
  }

  begin(id) {
    this.#note(id, true);
  }

  undo(id) {
    if (this.#leaving.has(id)) this.#note(id, false);
  }

  /** Delete it as soon as there is a network. If that is refused, rejects and shows the conversation again. */
  async commit(id) {
    while (this.#leaving.has(id)) {
      try {
        await this.#remove(id);
        this.#gone.add(id);
        this.#note(id, false);
      } catch (error) {
        if (!isUnreachable(error)) {
          this.#note(id, false);
          throw error;
        }
        await networkIsBack();
      }
    }
  }

  /** Complete the deletions of earlier pages, but not recent ones: another tab may still offer to undo them. */
  resume() {
    for (const [id, since] of Object.entries(noted())) {
      if (this.#leaving.has(id) || Date.now() - since < 2 * UNDO_SECONDS * 1000) continue;
      this.#leaving.add(id);
      this.commit(id).catch(() => {}); // it is shown again, because it still exists
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
    return {}; // not written by this page
  }
}
