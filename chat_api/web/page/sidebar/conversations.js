// The reader's conversations: loaded, searched, renamed, starred, deleted. Views listen to `change`.

import { latest } from "../reader/latest.js";
import { mayPass, networkIsBack } from "../reader/network.js";
import { Deletions, UNDO_SECONDS } from "./deletions.js";

const FIRST_PAGE = 50; // what a sidebar shows at once
const PAGE = 200;
const PRELOADED = 1000; // loaded at the start, so that favourites and a search include them

export class Conversations extends EventTarget {
  #chat;
  #items = new Map();
  #deletions;
  #cursor = null;
  #loading = null;
  #isSearched = false;
  #refresh = latest(() => this.#loadNewest());
  #others = new BroadcastChannel("chat.conversations");
  state = "loading"; // "ready", "failed"
  error = null;

  /** @param {import("../../client.js").ChatClient} chat */
  constructor(chat) {
    super();
    this.#chat = chat;
    this.#others.addEventListener("message", () => this.refresh());
    this.#deletions = new Deletions(
      (id) => this.#delete(id),
      () => this.#changed(),
    );
  }

  /** Newest first, without those that are being deleted. */
  get items() {
    return [...this.#items.values()]
      .filter(({ id }) => !this.#deletions.has(id))
      .sort((one, other) => (one.updated_at < other.updated_at ? 1 : -1));
  }

  get isComplete() {
    return this.state === "ready" && this.#cursor === null;
  }

  get(id) {
    return this.#deletions.has(id) ? undefined : this.#items.get(id);
  }

  /** Load the first page, then more, one page after the other. */
  async load() {
    this.#become(this.#items.size ? this.state : "loading");
    this.#deletions.resume();
    try {
      const page = await this.#chat.conversations.list({ limit: FIRST_PAGE });
      this.#items = new Map(page.items.map((each) => [each.id, each]));
      this.#cursor = page.next_cursor;
      this.#become("ready");
    } catch (error) {
      this.#become("failed", error);
      return;
    }
    while (this.#cursor !== null && (this.#isSearched || this.#items.size < PRELOADED)) {
      if (!(await this.more())) return;
    }
  }

  /** Load the next page. Resolves to false if that failed. */
  more() {
    this.#loading ??= this.#more().finally(() => (this.#loading = null));
    return this.#loading;
  }

  /** Load all of them, for a search. */
  async all() {
    this.#isSearched = true; // the first page may still be loading
    while (this.#cursor !== null) if (!(await this.more())) return;
  }

  /** Load the newest ones again, because something may have changed elsewhere. */
  refresh() {
    return this.#refresh();
  }

  async #loadNewest() {
    if (this.state !== "ready") return this.load();
    const known = [...this.#items.values()]; // those that arrive meanwhile aren't on the page
    let page;
    try {
      page = await this.#chat.conversations.list({ limit: FIRST_PAGE });
    } catch (error) {
      if (mayPass(error)) networkIsBack().then(() => this.refresh());
      return; // what is shown stays; the banner shows the connection's state
    }
    // A conversation that is newer than the page's last one and not on the page has been deleted.
    const oldest = page.next_cursor === null ? "" : page.items.at(-1).updated_at;
    const there = new Set(page.items.map(({ id }) => id));
    for (const { id, updated_at } of known) {
      if (updated_at > oldest && !there.has(id)) this.#items.delete(id);
    }
    this.put(...page.items);
  }

  /** Take over conversations as the service returned them, unless a later version is known: a list may arrive late. */
  put(...conversations) {
    for (const { messages, generation, ...conversation } of conversations) {
      const { id, version } = conversation;
      if (!(this.#items.get(id)?.version > version)) this.#items.set(id, conversation);
    }
    this.#changed();
  }

  /** @param {string} [modelTag] */
  async create(modelTag) {
    const conversation = await this.#chat.conversations.create(modelTag ? { model_tag: modelTag } : {});
    this.put(conversation);
    return conversation;
  }

  /** Note that a message was sent in it: move it to the top, with the title that the service will give it. */
  touch(id, content) {
    const conversation = this.#items.get(id);
    if (!conversation) return;
    const isUntitled = ["New conversation", "New chat"].includes(conversation.title);
    const title = isUntitled ? titleOf(content) || conversation.title : conversation.title;
    this.put({ ...conversation, title, updated_at: new Date().toISOString() });
  }

  /** Change it at once, and change it back if the service refuses. Rejects with the ChatError. */
  async update(id, fields) {
    const before = this.#items.get(id);
    this.put({ ...before, ...fields });
    try {
      this.put(await this.#chat.conversations.update(id, fields));
      this.tellOthers();
    } catch (error) {
      if (error.status === 404) this.forget(id);
      else this.put(before);
      throw error;
    }
  }

  /** Hide it now; `commit` deletes it. @returns {{undo: () => void, commit: () => Promise<void>, seconds: number}} */
  remove(id) {
    this.#deletions.begin(id);
    return {
      undo: () => this.#deletions.undo(id),
      commit: () => this.#deletions.commit(id),
      seconds: UNDO_SECONDS,
    };
  }

  forget(id) {
    this.#deletions.gone(id);
    if (this.#items.delete(id)) this.#changed();
  }

  /** Make other tabs load the newest ones again. */
  tellOthers() {
    this.#others.postMessage("changed");
  }

  async #delete(id) {
    try {
      await this.#chat.conversations.delete(id);
    } catch (error) {
      if (error.status !== 404) throw error;
    }
    this.#items.delete(id);
    this.tellOthers();
  }

  async #more() {
    try {
      const page = await this.#chat.conversations.list({ limit: PAGE, cursor: this.#cursor });
      for (const each of page.items) if (!this.#items.has(each.id)) this.#items.set(each.id, each);
      this.#cursor = page.next_cursor;
      this.#changed();
      return true;
    } catch {
      return false; // tried again when the reader scrolls or searches
    }
  }

  #become(state, error = null) {
    this.state = state;
    this.error = error;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** The title that the service makes: the first 80 characters, in one line. */
function titleOf(content) {
  return Array.from(content.trim().replace(/\s+/g, " ")).slice(0, 80).join("").trim();
}
