import { Store } from "./store.js";

const PAGE = 50;

/** The user's conversations. It loads the newest again when something may have changed elsewhere. */
export class ListStore extends Store {
  #chat;
  #items = new Map();
  #cursor = null;
  #status = "loading";
  #error = null;
  #attention = null; // ends what listens while somebody reads it
  #others = null;
  #loading = null;

  /** @param {import("../client.js").ChatClient} chat */
  constructor(chat) {
    super();
    this.#chat = chat;
  }

  begin() {
    if (this.#attention) return;
    this.#attention = new AbortController();
    const { signal } = this.#attention;
    const load = () => void this.load();
    this.#chat.addEventListener("status", ({ detail }) => detail === "online" && load(), { signal });
    globalThis.document?.addEventListener("visibilitychange", () => document.hidden || load(), { signal });
    if (globalThis.BroadcastChannel && globalThis.document) {
      this.#others = new BroadcastChannel("chat.conversations"); // the service's own page uses it, too
      this.#others.onmessage = load;
    }
    load();
  }

  rest() {
    this.#attention?.abort();
    this.#attention = null;
    this.#others?.close();
    this.#others = null;
  }

  look() {
    const newest = [...this.#items.values()].sort((one, other) => (one.updated_at < other.updated_at ? 1 : -1));
    return { conversations: newest, status: this.#status, error: this.#error, hasMore: this.#cursor !== null };
  }

  /** Load the newest. What is shown stays if that fails. */
  load() {
    this.#loading ??= this.#load().finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #load() {
    const known = [...this.#items.values()]; // those that arrive meanwhile aren't on the page
    try {
      const page = await this.#chat.conversations.list({ limit: PAGE });
      const there = new Set(page.items.map(({ id }) => id));
      const oldest = page.next_cursor === null ? "" : page.items.at(-1).updated_at;
      // A conversation that is newer than the page's last one and not on the page was deleted.
      for (const { id, updated_at } of known) if (updated_at > oldest && !there.has(id)) this.#items.delete(id);
      if (this.#status !== "ready") this.#cursor = page.next_cursor;
      this.#status = "ready";
      this.#error = null;
      for (const each of page.items) this.#items.set(each.id, each);
    } catch (error) {
      if (this.#status !== "ready") this.#status = "failed";
      this.#error = error;
    }
    this.changed();
  }

  /** Load the next page of older ones. */
  async more() {
    if (this.#cursor === null) return;
    const cursor = this.#cursor;
    try {
      const page = await this.#chat.conversations.list({ limit: PAGE, cursor });
      if (cursor !== this.#cursor) return; // the same page was loaded twice
      this.#cursor = page.next_cursor;
      for (const each of page.items) if (!this.#items.has(each.id)) this.#items.set(each.id, each);
    } catch (error) {
      this.#error = error;
    }
    this.changed();
  }

  /** Change one. Resolves to whether the service took it. */
  update(id, fields) {
    return this.#change(async () => this.put(await this.#chat.conversations.update(id, fields)));
  }

  /** Delete one. Resolves to whether it is gone. */
  remove(id) {
    return this.#change(async () => {
      await this.#chat.conversations.delete(id).catch((error) => {
        if (error.status !== 404) throw error; // it was deleted elsewhere
      });
      this.#items.delete(id);
    });
  }

  /** It was deleted elsewhere. @param {string} id */
  drop(id) {
    if (this.#items.delete(id)) this.changed();
  }

  async #change(change) {
    this.#error = null;
    try {
      await change();
      this.#tell();
    } catch (error) {
      this.#error = error;
    }
    this.changed();
    return this.#error === null;
  }

  /** Take over a conversation as the service returned it, and tell other tabs of a new one and of a new title. */
  put({ messages, generation, unanswered, queued, has_more, ...conversation }) {
    const known = this.#items.get(conversation.id);
    if (known?.updated_at === conversation.updated_at && known.version === conversation.version) return;
    this.#items.set(conversation.id, conversation);
    this.changed();
    if (this.#status === "ready" && known?.title !== conversation.title) this.#tell();
  }

  #tell() {
    this.#others?.postMessage("changed");
  }
}
