// The open conversation as the service stores it, or why it can't be shown.

import { announce } from "../ui/announcer.js";
import { lack } from "./endings.js";

export class Stored {
  #conversations;
  #messages;
  #known = new Map(); // conversations as they were last seen, shown until they are loaded

  /**
   * @param {import("../sidebar/conversations.js").Conversations} conversations
   * @param {import("./messages.js").Messages} messages
   */
  constructor(conversations, messages) {
    this.#conversations = conversations;
    this.#messages = messages;
  }

  /** Show what was last seen of a conversation, if anything. */
  showKnown(id) {
    const known = this.#known.get(id);
    if (known) this.show(known);
  }

  /** Whether the conversation ends as it was last shown, and nothing is being written. */
  isShown({ id, messages, generation }) {
    return !generation && messages.at(-1)?.id === this.#known.get(id)?.messages.at(-1)?.id;
  }

  /** Show its messages, and why its last question has no answer. */
  show(conversation) {
    this.#known.set(conversation.id, conversation);
    const { messages, generation } = conversation;
    const asked = messages.findIndex(({ id }) => id === generation?.user_message_id);
    // The old answer goes when the new one comes. An answer whose tool calls have results goes on with the new one.
    const isOver = asked >= 0 && messages.at(-1).role !== "tool";
    this.#messages.show(isOver ? messages.slice(0, asked + 1) : messages);
    const why = lack(conversation);
    if (why) this.#messages.fail(why.text, { bad: why.bad });
  }

  /** Show why it can't be shown. @param {any} error @param {() => void} again what "Try again" does */
  apologise(error, again) {
    if (error.status === 404) {
      this.#messages.apologise("This conversation no longer exists.", "Start a new one", () => (location.hash = "#/"));
    } else this.#messages.apologise(error.message, "Try again", again);
    announce(error.message);
  }

  /** Remove a conversation that no longer exists. */
  forget(id) {
    this.#known.delete(id);
    this.#conversations.forget(id);
  }
}
