/** The types of the hooks for React. react.js documents what each does. */

import type {
  AskOptions,
  ChatClient,
  Conversation,
  ConversationUpdate,
  FinishReason,
  ListedConversation,
  QueuedMessage,
  Siblings,
  Status,
  ToolCall,
  ToolResult,
  Usage,
} from "./client.js";

/** A message as it is to be shown. */
export interface ShownMessage {
  /** Stays the same from the moment when the message is first shown: React's `key`. */
  key: string;
  /** Null until the service has stored it. */
  id: string | null;
  /** `tool`: the result of a tool call. */
  role: "user" | "assistant" | "system" | "tool";
  content: string;
  /** What the model thought. */
  reasoning: string | null;
  tool_calls: ToolCall[];
  /** Of the role `tool`: the call that this is the result of. */
  tool_call_id: string | null;
  finish_reason: FinishReason | null;
  parent_id: string | null;
  /** Its versions, once it is stored; null: it is the only one. */
  siblings: Siblings | null;
  created_at: string | null;
  model_tag: string | null;
  usage: Usage | null;
  /** `sending`: a question that the service may not have; `failed`: one that it refused; `writing`: an answer. */
  state: "stored" | "sending" | "failed" | "writing";
  /** Why it failed. */
  error: Error | null;
}

/** What a new conversation is created with. */
export interface ConversationCreation {
  create?: { title?: string; model_tag?: string };
  /** Called with the id of the new conversation: the place to put it into the page's address. */
  onCreated?: (id: string) => void;
}

export type QuestionOptions = Omit<AskOptions, "idempotencyKey">;
export type ConversationSettings = QuestionOptions & ConversationCreation;

/** Each action resolves to whether the service took it; if it didn't, `error` says why. */
export interface ConversationView {
  id: string | null;
  status: "loading" | "ready" | "failed";
  /** Title, model, instructions and options; null until it is loaded. */
  conversation: Conversation | null;
  messages: ShownMessage[];
  /** Messages that wait for their turn. */
  queued: QueuedMessage[];
  /** Whether an answer is awaited or written, here or elsewhere. */
  isRunning: boolean;
  isStopping: boolean;
  /** What went wrong last: a ChatError, or what `onToolCalls` threw. The next action removes it. */
  error: Error | null;
  connection: Status;
  send(content: string, options?: ConversationSettings): Promise<boolean>;
  edit(messageId: string, content: string, options?: QuestionOptions): Promise<boolean>;
  /** Left out: the last answer. */
  regenerate(messageId?: string, options?: QuestionOptions): Promise<boolean>;
  goOn(messageId?: string, options?: QuestionOptions): Promise<boolean>;
  sendResults(results: ToolResult[], options?: QuestionOptions): Promise<boolean>;
  retry(key: string): Promise<boolean>;
  /** Takes a failed question off the list, and returns its text. */
  discard(key: string): string | null;
  stop(options?: { queue?: "clear" }): Promise<boolean>;
  switchTo(messageId: string): Promise<boolean>;
  takeBack(messageId: string): Promise<boolean>;
  update(fields: ConversationUpdate): Promise<boolean>;
  reload(): Promise<void>;
}

export function useConversation(
  chat: ChatClient,
  id: string | null,
  settings?: ConversationSettings,
): ConversationView;

export interface ConversationsView {
  /** The newest first. */
  conversations: ListedConversation[];
  status: "loading" | "ready" | "failed";
  error: Error | null;
  hasMore: boolean;
  loadMore(): Promise<void>;
  update(id: string, fields: ConversationUpdate): Promise<boolean>;
  remove(id: string): Promise<boolean>;
  reload(): Promise<void>;
}

export function useConversations(chat: ChatClient): ConversationsView;
