import { Feed } from "./feed.js";

/** An async iterable of the answers that begin elsewhere in a conversation. `leave()` ends it. */
export class Following extends Feed {
  #known = null; // the ids of the messages seen so far; null before the first look

  /** Made by ChatClient. @param {string} conversationId @param {any} conversation */
  constructor(conversationId, conversation) {
    super();
    this.conversationId = conversationId;
    this.updatedAt = null; // `updated_at` of the conversation, at the last look
    if (conversation) this.#known = new Set(conversation.messages.map(({ id }) => id));
  }

  /** The caller has read this answer in another way. @param {any} done its last event */
  knows(done) {
    if (done?.message_id) this.#known?.add(done.message_id);
  }

  /** The last answer, if it is new; else null. At the first look nothing is new. */
  news({ messages }) {
    const known = this.#known;
    this.#known = new Set(messages.map(({ id }) => id));
    const last = messages.findLast(({ role }) => role === "assistant");
    return known !== null && last && !known.has(last.id) ? last : null;
  }
}
