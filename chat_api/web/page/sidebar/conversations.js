// The reader's conversations: loaded, searched, renamed, starred, deleted. Views listen to `change`.

import { Deletions, UNDO_SECONDS } from "./deletions.js";

const FIRST_PAGE = 50; // what a sidebar shows at once
const PAGE = 200;
const UNASKED = 1000; // loaded without being asked for, so that favourites and a search see them

export class Conversations extends EventTarget {
  #chat;
  #items = new Map();
  #deletions;
  #cursor = null;
  #loading = null;
  #isSearched = false;
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

  /** Newest first, without those on their way out. */
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

  /** The first page, and then, without haste, more. */
  async load() {
    this.#become(this.#items.size ? this.state : "loading");
    this.#deletions.keepPromises();
    try {
      const page = await this.#chat.conversations.list({ limit: FIRST_PAGE });
      this.#items = new Map(page.items.map((each) => [each.id, each]));
      this.#cursor = page.next_cursor;
      this.#become("ready");
    } catch (error) {
      this.#become("failed", error);
      return;
    }
    while (this.#cursor !== null && (this.#isSearched || this.#items.size < UNASKED)) {
      if (!(await this.more())) return;
    }
  }

  /** The next page; false where it couldn't be had. */
  more() {
    this.#loading ??= this.#more().finally(() => (this.#loading = null));
    return this.#loading;
  }

  /** All of them, for a search. */
  async all() {
    this.#isSearched = true; // the first page may be on its way still
    while (this.#cursor !== null) if (!(await this.more())) return;
  }

  /** What has changed elsewhere: the newest ones, again. */
  async refresh() {
    if (this.state !== "ready") return this.load();
    const known = [...this.#items.values()]; // those that come meanwhile aren't on the page
    let page;
    try {
      page = await this.#chat.conversations.list({ limit: FIRST_PAGE });
    } catch {
      return; // what is shown stays; the connection's state is told elsewhere
    }
    // Every conversation newer than the page's last is on the page, or it is no more.
    const oldest = page.next_cursor === null ? "" : page.items.at(-1).updated_at;
    const there = new Set(page.items.map(({ id }) => id));
    for (const { id, updated_at } of known) {
      if (updated_at > oldest && !there.has(id)) this.#items.delete(id);
    }
    this.put(...page.items);
  }

  /** Take over what the service said of some. */
  put(...conversations) {
    for (const { messages, generation, ...conversation } of conversations) this.#items.set(conversation.id, conversation);
    this.#changed();
  }

  /** @param {string} [modelTag] */
  async create(modelTag) {
    const conversation = await this.#chat.conversations.create(modelTag ? { model_tag: modelTag } : {});
    this.put(conversation);
    return conversation;
  }

  /** A message was sent in it: it goes to the top, and gets its title as the service will give it. */
  touch(id, content) {
    const conversation = this.#items.get(id);
    if (!conversation) return;
    const isUntitled = ["New conversation", "New chat"].includes(conversation.title);
    const title = isUntitled ? titleOf(content) || conversation.title : conversation.title;
    this.put({ ...conversation, title, updated_at: new Date().toISOString() });
  }

  /** Shown at once, taken back where the service refuses. Rejects with its ChatError. */
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

  /** Delete in a while. @returns {{undo: () => void, commit: () => Promise<void>, seconds: number}} */
  remove(id) {
    this.#deletions.begin(id);
    return {
      undo: () => this.#deletions.undo(id),
      commit: () => this.#deletions.commit(id),
      seconds: UNDO_SECONDS,
    };
  }

  forget(id) {
    if (this.#items.delete(id)) this.#changed();
  }

  /** Other tabs look again. */
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
      return false; // asked again when the reader scrolls or searches
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

/** What the service makes a title of: the first 80 characters, in one line. */
function titleOf(content) {
  return Array.from(content.trim().replace(/\s+/g, " ")).slice(0, 80).join("").trim();
}
