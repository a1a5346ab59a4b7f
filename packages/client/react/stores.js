import { ConversationStore } from "./conversation.js";
import { ListStore } from "./list.js";

const known = new WeakMap(); // by ChatClient

/** What is known of a client's conversations. @param {import("../client.js").ChatClient} chat @returns {Stores} */
export function storesOf(chat) {
  if (!known.has(chat)) known.set(chat, new Stores(chat));
  return known.get(chat);
}

/** A client's conversations that are shown somewhere, and the list of all. */
class Stores {
  #chat;
  #conversations = new Map();

  /** @param {import("../client.js").ChatClient} chat */
  constructor(chat) {
    this.#chat = chat;
    this.list = new ListStore(chat);
  }

  /** @param {string | null} id null: a new one, which nobody else shows */
  conversation(id) {
    const store = this.#conversations.get(id) ?? new ConversationStore(this.#chat, this, id);
    if (id !== null) this.keep(store);
    return store;
  }

  /** A conversation has an id, and something to keep. @param {ConversationStore} store */
  keep(store) {
    this.#conversations.set(store.id, store);
  }

  /** Nobody shows it, and nothing of it would be lost. @param {ConversationStore} store */
  forget(store) {
    if (this.#conversations.get(store.id) === store) this.#conversations.delete(store.id);
  }
}
