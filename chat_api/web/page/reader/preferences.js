// What this browser keeps for the reader. A token is kept in `passing` only, never in `lasting`.

/** Named texts in the browser's storage; in memory, until the next reload, if that is blocked. */
class Store {
  #storage;
  #memory = new Map();

  constructor(storage) {
    this.#storage = storage;
  }

  get(name) {
    try {
      return this.#storage().getItem(`chat.${name}`);
    } catch {
      return this.#memory.get(name) ?? null; // blocked by the browser's settings
    }
  }

  /** @param {string} name @param {string | null} value null removes it */
  set(name, value) {
    this.#memory.set(name, value);
    try {
      if (value === null) this.#storage().removeItem(`chat.${name}`);
      else this.#storage().setItem(`chat.${name}`, value);
    } catch {
      // blocked or full: memory keeps it until the page is left
    }
  }

  clear() {
    this.#memory.clear();
    try {
      const storage = this.#storage();
      for (const name of Object.keys(storage)) if (name.startsWith("chat.")) storage.removeItem(name);
    } catch {
      // blocked: there is nothing in it
    }
  }
}

/** Kept for good: theme, transport, sidebar, deletions. */
export const lasting = new Store(() => localStorage);
/** Kept for this tab: drafts, and a token that the reader typed. */
export const passing = new Store(() => sessionStorage);

/** @param {"system" | "light" | "dark"} theme */
export function setTheme(theme) {
  lasting.set("theme", theme === "system" ? null : theme);
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export const theme = () => lasting.get("theme") ?? "system";
