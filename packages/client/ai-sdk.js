/**
 * A transport for the AI SDK's `useChat`.
 *
 *     const transport = new ConversationTransport(chat);
 *     const initial = await transport.load(id);
 *     // in a component:
 *     const { messages, sendMessage, stop } = useChat({ id, messages: initial, transport, resume: true });
 *
 * A chat's id is the conversation's. The service has the messages, so only the new one is sent.
 */

import { ChatError } from "./client.js";
import { Chunks, chunksOf } from "./ai-sdk/chunks.js";
import { answerAfter, idOfAnswer, questionIn } from "./ai-sdk/ids.js";
import { resultsOf, textOf, toUIMessages } from "./ai-sdk/messages.js";
import { begun, streamOf, streamOfAll } from "./ai-sdk/stream.js";

export { shownParts, toUIMessages } from "./ai-sdk/messages.js";

/** `stop` of `useChat` stops the model. Leaving the page doesn't, and `resume` goes on with the answer. */
export class ConversationTransport {
  #chat;
  #options;
  #onError;
  #running = new Map(); // the answer that was being written when a conversation was loaded
  #resumed = new Map(); // the last call of `reconnectToStream` for a conversation
  #over = new WeakSet(); // answers that have ended by themselves

  /** What `reconnectToStream` gives begins with the answer's first word. */
  resumeStreamIsReplay = true;

  /**
   * @param {import("./client.js").ChatClient} chat
   * @param {import("./ai-sdk.js").TransportOptions} [options] for all questions; `body` of `sendMessage` has those of
   *   one. `onError`: called when an answer can't be stopped
   */
  constructor(chat, { onError = console.error, ...options } = {}) {
    this.#chat = chat;
    this.#options = options;
    this.#onError = onError;
  }

  /** The messages that `useChat` begins with. Rejects with a ChatError. @param {string} chatId */
  async load(chatId) {
    const conversation = await this.#chat.conversations.get(chatId);
    if (conversation.generation) this.#running.set(chatId, conversation.generation.id);
    return toUIMessages(conversation);
  }

  /** Called by `useChat`. Rejects with a ChatError. @param {any} asked */
  async sendMessages({ abortSignal, ...asked }) {
    this.#running.delete(asked.chatId);
    const { ask, ...from } = await this.#prepared(asked);
    abortSignal?.throwIfAborted();
    const answer = this.#noted(ask());
    const aborted = new Promise((_, reject) => {
      abortSignal?.addEventListener("abort", () => {
        reject(abortSignal.reason);
        this.#stop(answer);
      });
    });
    await Promise.race([begun(answer), aborted]);
    return streamOf(answer, new Chunks(from));
  }

  /** What is to be asked, and what its answer follows. */
  async #prepared({ trigger, chatId, messages, messageId, body }) {
    const options = { ...this.#options, ...body };
    const last = messages.at(-1);
    if (trigger === "regenerate-message") {
      const old = messageId && (await this.#answerOf(chatId, messages, messageId));
      return { ask: () => this.#chat.regenerate(chatId, { ...options, messageId: old }) };
    }
    if (last.role === "assistant") {
      const { messageIds } = last.metadata ?? {};
      return { ask: () => this.#chat.sendResults(chatId, resultsOf(last), options), isNextStep: true, messageIds };
    }
    const parentId = messageId && (await this.#parentOf(chatId, messages));
    return { ask: () => this.#chat.send(chatId, textOf(last), { ...options, parentId }) };
  }

  /** Called by `useChat`. Null: no answer is being written. Rejects with a ChatError. @param {any} asked */
  async reconnectToStream({ chatId, abortSignal }) {
    const request = {};
    this.#resumed.set(chatId, request);
    const conversation = await this.#stored(chatId);
    abortSignal?.throwIfAborted();
    if (!conversation?.generation) return this.#ended(chatId, conversation);
    const { generation } = conversation;
    const answer = this.#noted(this.#chat.attach(chatId, { generation }));
    // `stop` aborts it, and so does the next `reconnectToStream`, which is called at once then.
    const decide = () => (this.#resumed.get(chatId) === request ? this.#stop(answer) : answer.leave());
    abortSignal?.addEventListener("abort", () => queueMicrotask(decide));
    const last = toUIMessages(conversation).at(-1);
    const before = last?.role === "assistant" ? { steps: last.parts, messageIds: last.metadata.messageIds } : {};
    return streamOf(answer, new Chunks({ messageId: idOfAnswer(generation.user_message_id), ...before }));
  }

  /** A conversation; null: it isn't created yet. */
  async #stored(chatId) {
    try {
      return await this.#chat.conversations.get(chatId);
    } catch (error) {
      if (error.status === 404) return null;
      throw error;
    }
  }

  /** An answer that has ended since the messages were loaded. */
  #ended(chatId, conversation) {
    if (!this.#running.delete(chatId) || !conversation) return null;
    const last = toUIMessages(conversation).at(-1);
    return last?.role === "assistant" ? streamOfAll(chunksOf(last)) : null;
  }

  /** Note when an answer ends otherwise than by being left. */
  #noted(answer) {
    answer.done.then(
      (/** @type {any} */ done) => done && this.#over.add(answer),
      () => this.#over.add(answer),
    );
    return answer;
  }

  /** Stop an answer, also if it hasn't begun yet. */
  async #stop(answer) {
    try {
      await begun(answer);
      if (!this.#over.has(answer)) await this.#chat.stop(answer.conversationId);
    } catch (error) {
      if (answer.generationId !== null) this.#onError(error); // otherwise it was refused, and there is nothing to stop
    } finally {
      answer.leave();
    }
  }

  async #answerOf(chatId, messages, messageId) {
    const { messages: stored } = await this.#chat.conversations.get(chatId);
    const answer = answerAfter(stored, messageId, () => questionIn(stored, messages));
    if (answer === null) throw new ChatError("message_not_found", "The conversation has no such message any more.");
    return answer?.id;
  }

  async #parentOf(chatId, messages) {
    const { messages: stored } = await this.#chat.conversations.get(chatId);
    return questionIn(stored, messages)?.parent_id; // undefined: it was never stored, so it comes last
  }
}
