import { Feed } from "./feed.js";

/** A stay in a conversation: an async iterable of the answers that begin elsewhere. `leave()` ends it. */
export class Following extends Feed {
  #known = null;

  /** Made by ChatClient. @param {string} conversationId @param {any} conversation */
  constructor(conversationId, conversation) {
    super();
    this.conversationId = conversationId;
    this.updatedAt = null; // the conversation's, when it was last looked at
    if (conversation) this.#known = new Set(conversation.messages.map(({ id }) => id));
  }

  /** What the caller has read otherwise. @param {any} done */
  knows(done) {
    if (done?.message_id) this.#known?.add(done.message_id);
  }

  /** The last answer, where it came and nobody knew; at the first look all is known. */
  news({ messages }) {
    const known = this.#known;
    this.#known = new Set(messages.map(({ id }) => id));
    const last = messages.findLast(({ role }) => role === "assistant");
    return known !== null && last && !known.has(last.id) ? last : null;
  }
}
