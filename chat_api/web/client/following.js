import { Feed } from "./feed.js";

/** An async iterable of the answers that begin elsewhere in a conversation. `leave()` ends it. */
export class Following extends Feed {
  #known = null; // the ids of the messages seen so far; null before the first look
  #newest = ""; // when the newest of them was stored
  #seen = null; // the conversation at the last look
  #told = null; // the conversation as the caller knows it
  #answer = null; // the last one that was being read here at a look
  #read = new Set(); // the ids of the generations that were read here to their end
  #onChange;

  /** Made by ChatClient. @param {string} conversationId @param {any} conversation @param {any} [onChange] */
  constructor(conversationId, conversation, onChange) {
    super();
    this.conversationId = conversationId;
    this.#onChange = onChange;
    if (!conversation) return;
    this.#remember(conversation);
    if (conversation.version !== undefined) this.#told = conversation;
  }

  /**
   * Whether something has happened that wasn't looked at.
   *
   * @param {any} now the conversation, perhaps without its messages
   * @param {any} answer one that is being read here; undefined: none
   */
  isBehind(now, answer) {
    if (!answer) return differs(now, this.#seen);
    if (this.#known === null) {
      this.#known = new Set();
      this.#newest = now.updated_at; // so what comes after this answer is new
    }
    if (answer !== this.#answer) {
      this.#answer = answer;
      if (!this.#told || now.version === this.#told.version) this.#told = now; // it began since
    }
    return differs(now, this.#told);
  }

  /** This answer is given to the caller, who looks at the conversation then. */
  begins(answer, conversation) {
    this.#answer = answer;
    this.#told = conversation;
  }

  /** The caller has read this answer in another way. @param {any} done its last event */
  knows(done) {
    if (done?.message_id) this.#known?.add(done.message_id);
    if (done) this.#read.add(done.generation_id);
  }

  /** Whether the caller has read this generation's answer to its end. */
  hasRead(generationId) {
    return this.#read.has(generationId);
  }

  /** The last answer, if it is new; else null. At the first look nothing is new. */
  news(conversation) {
    const [known, newest] = [this.#known, this.#newest];
    this.#remember(conversation);
    this.#seen = conversation;
    const last = conversation.messages.findLast(({ role }) => role === "assistant");
    // A version that is shown again is older.
    return known !== null && last && !known.has(last.id) && isAfter(last.created_at, newest) ? last : null;
  }

  /** Tell the caller that the conversation has changed, unless it knows. At the first look nothing is new. */
  tell(conversation) {
    if (this.#known === null) this.#remember(conversation);
    const isNew = this.#told !== null && differs(conversation, this.#told);
    this.#told = conversation;
    if (isNew && !this.ended) this.#onChange?.(conversation);
  }

  #remember({ messages }) {
    this.#known = new Set(messages.map(({ id }) => id));
    this.#newest = messages.reduce((newest, { created_at: at }) => (isAfter(at, newest) ? at : newest), "");
  }
}

const differs = (one, other) => one.version !== other?.version || one.updated_at !== other?.updated_at;

const isAfter = (one, other) => !other || Date.parse(one) >= Date.parse(other);
