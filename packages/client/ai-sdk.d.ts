/** The types of the transport for the AI SDK. ai-sdk.js documents what each does. */

import type { ChatTransport, UIMessage } from "ai";
import type { AskOptions, ChatClient, ConversationDetail, FinishReason, Usage } from "./client.js";

/** The metadata of an answer's UI message. */
export interface ConversationMetadata {
  generationId?: string;
  /** The stored message that it answers; null: it isn't loaded. */
  userMessageId?: string | null;
  /** The stored messages that it consists of: one for each step. Known once it has ended. */
  messageIds?: string[];
  /** As the service has it; `stopped` and `interrupted` are `other` to the AI SDK. */
  finishReason?: FinishReason | null;
  usage?: Usage | null;
}

export type ConversationMessage = UIMessage<ConversationMetadata, { reset: null }>;

/** What is asked with each message. Its tools are run by `onToolCall` of `useChat`. */
export interface TransportOptions extends Omit<AskOptions, "idempotencyKey" | "onToolCalls"> {
  /** Called when an answer can't be stopped. Default: `console.error`. */
  onError?: (error: unknown) => void;
}

export class ConversationTransport<M extends UIMessage = ConversationMessage> implements ChatTransport<M> {
  constructor(chat: ChatClient, options?: TransportOptions);
  readonly resumeStreamIsReplay: true;
  load(chatId: string): Promise<M[]>;
  sendMessages: ChatTransport<M>["sendMessages"];
  reconnectToStream: ChatTransport<M>["reconnectToStream"];
}

export function toUIMessages<M extends UIMessage = ConversationMessage>(
  conversation: Pick<ConversationDetail, "messages" | "generation">,
): M[];

export function shownParts<M extends UIMessage>(message: M): M["parts"];
