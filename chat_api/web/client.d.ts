/** The types of the JavaScript client of the samosaChaat chat API. client.js documents what each name does. */

export type Transport = "sse" | "ws";
export type Status = "online" | "reconnecting" | "offline" | "signed-out";
export type FinishReason =
  | "stop"
  | "length"
  | "tool_calls"
  | "content_filter"
  | "stopped"
  | "interrupted"
  | "error";

/** As the list has it. */
export interface ListedConversation {
  id: string;
  user_id: string;
  title: string;
  model_tag: string;
  is_favorited: boolean;
  created_at: string;
  updated_at: string;
  /** One more after each change but a new message. */
  version: number;
}

export interface Conversation extends ListedConversation {
  /** What the model is told first; null: what the service tells it. */
  instructions: string | null;
  options: ConversationOptions | null;
}

/** What answers are asked with, unless a message says otherwise. */
export interface ConversationOptions {
  temperature?: number;
  max_tokens?: number;
  top_k?: number;
  thinking_mode?: boolean;
  force_web_search?: boolean;
}

export interface ConversationUpdate {
  title?: string;
  is_favorited?: boolean;
  model_tag?: string;
  /** "" removes them. */
  instructions?: string;
  /** {} removes them. */
  options?: ConversationOptions;
  active_message_id?: string;
  /** The version that the caller knows. If it is another one by now, nothing changes: `conversation_changed`, 412. */
  version?: number;
}

export interface Message {
  id: string;
  conversation_id: string;
  /** `tool`: the result of a tool call. */
  role: "user" | "assistant" | "system" | "tool";
  content: string;
  token_count: number;
  model_tag: string;
  inference_time_ms: number;
  created_at: string;
  finish_reason: FinishReason | null;
  /** What the model thought. */
  reasoning: string | null;
  tool_calls: ToolCall[] | null;
  /** Of the role `tool`: the call that this is the result of. */
  tool_call_id: string | null;
  usage: Usage | null;
  /** The message that it comes after; null: it begins the conversation. */
  parent_id: string | null;
  /** Its versions; null: it is the only one. */
  siblings: Siblings | null;
}

export interface Siblings {
  /** Which of them the message itself is, from 0. */
  index: number;
  /** The oldest first. */
  ids: string[];
}

/** A message that waits for its turn. */
export interface QueuedMessage {
  id: string;
  content: string;
  created_at: string;
}

export interface ToolCall {
  id: string;
  name: string;
  /** JSON text, as the model wrote it; cut off if the answer was. */
  arguments: string;
}

export interface ToolResult {
  tool_call_id: string;
  content: string;
}

/** In tokens; null where the model server doesn't say. */
export interface Usage {
  prompt_tokens: number | null;
  completion_tokens: number | null;
  reasoning_tokens: number | null;
  cached_tokens: number | null;
}

/** How many earlier messages the model is sent, and how many didn't fit. */
export interface History {
  sent: number;
  left_out: number;
}

/** Why a question has no answer. `error` and `detail` are null if the answer was stopped before its text. */
export interface Unanswered {
  generation_id: string;
  error: string | null;
  detail: string | null;
  finish_reason: FinishReason;
}

export interface Generation {
  id: string;
  conversation_id: string;
  user_message_id: string;
  status: string;
  started_at: string;
  last_event_id: string | null;
}

export interface ConversationPage {
  items: ListedConversation[];
  grouped: Record<string, ListedConversation[]>;
  limit: number;
  offset: number;
  next_cursor: string | null;
}

export interface ConversationDetail extends Conversation {
  messages: Message[];
  has_more: boolean;
  generation: Generation | null;
  unanswered: Unanswered | null;
  queued: QueuedMessage[];
}

/** A model that may answer. */
export interface ModelDetails {
  /** The `model_tag` of conversations. */
  tag: string;
  /** For people. */
  name: string;
  description: string | null;
  /** The length of its context; null if it isn't set. */
  context_tokens: number | null;
  /** Whether it can be told to think, by `thinking_mode`. */
  thinking: boolean;
  /** Whether one of its servers answers just now. */
  available: boolean;
}

export interface Models {
  /** Which one answers in conversations of the tag `default`. */
  current_model: string | null;
  models: unknown[];
  /** The same models; left out where a model server's list has more than names. */
  details?: ModelDetails[] | null;
  [more: string]: unknown;
}

interface EventBase {
  /** Null for an answer of `follow` that had ended before it was seen: it comes as one `reset` and `done`. */
  generation_id: string | null;
  conversation_id: string;
  seq: number;
}

export interface StartEvent extends EventBase {
  type: "start";
  user_message_id: string;
  /** Missing where it isn't known. */
  history?: History;
}

export interface TokenEvent extends EventBase {
  type: "token";
  token: string;
  /** Other fields that the model server sent. */
  [more: string]: unknown;
}

export interface ReasoningEvent extends EventBase {
  type: "reasoning";
  reasoning: string;
  [more: string]: unknown;
}

export interface ToolCallEvent extends EventBase {
  type: "tool_call";
  /** `id` and `name` come with the first piece of an index; `arguments` is to be appended. */
  tool_call: { index: number; id?: string; name?: string; arguments: string };
}

export interface ResetEvent extends EventBase {
  type: "reset";
  reset: true;
  /** All that was said so far. */
  content: string;
  reasoning: string | null;
  tool_calls: ToolCall[] | null;
}

export interface ErrorEvent extends EventBase {
  type: "error";
  error: string;
  detail: string;
  /** Seconds, if the model server named them. */
  retry_after?: number;
}

export interface DoneEvent extends EventBase {
  type: "done";
  done: true;
  /** Null if nothing was said. */
  message_id: string | null;
  finish_reason: FinishReason;
  token_count: number;
  inference_time_ms: number;
  usage: Usage | null;
}

/** Others may come, too: a model server's own, such as `status`, and those of later releases. */
export type AnswerEvent =
  | StartEvent
  | TokenEvent
  | ReasoningEvent
  | ToolCallEvent
  | ResetEvent
  | ErrorEvent
  | DoneEvent;

export interface AskOptions {
  temperature?: number;
  max_tokens?: number;
  top_k?: number;
  thinking_mode?: boolean;
  force_web_search?: boolean;
  /** Functions in OpenAI's form. The caller runs them. */
  tools?: object[];
  tool_choice?: "none" | "auto" | "required" | object;
  /** `queue` is for `send` without `parentId`. */
  when_running?: "reject" | "supersede" | "queue";
  /** Runs the tools of a complete answer. Its results are sent; null leaves the calls open. */
  onToolCalls?: (calls: ToolCall[], answer: Answer) => ToolResults | Promise<ToolResults>;
  /** Default: a new one for each call. */
  idempotencyKey?: string;
}

export type ToolResults = ToolResult[] | null | undefined | void;

export interface SendOptions extends AskOptions {
  /** The message that it comes after; null: it begins the conversation. Left out: it comes last. */
  parentId?: string | null;
}

export interface AgainOptions extends AskOptions {
  /** The answer. Left out: the last one. */
  messageId?: string;
}

export interface FollowFrom {
  conversation?: { messages: { id: string; created_at?: string }[]; version?: number; updated_at?: string } | null;
  /** Called with the conversation when it may have changed otherwise than by a new answer. */
  onChange?: (conversation: ConversationDetail) => void;
}

export interface AttachFrom {
  after?: string | null;
  text?: string;
  reasoning?: string;
  toolCalls?: ToolCall[];
  generation?: Generation | null;
}

export interface ChatClientOptions {
  /** Where `api/` is. Default: the service that the module was loaded from. A bundle and the npm package need it. */
  baseUrl?: string;
  token?: string | ((asked: { expired: boolean }) => string | Promise<string>);
  transport?: Transport;
  /** The class to use where there is no global one (Node before 22), such as that of the package ws. */
  WebSocket?: new (address: string) => object;
}

/** As the DOM's types have it. Node's types don't. */
interface ListenerOptions {
  capture?: boolean;
  once?: boolean;
  passive?: boolean;
  signal?: AbortSignal;
}

interface ChatClientEvents {
  status: CustomEvent<Status>;
  transport: CustomEvent<Transport>;
}

export class ChatError extends Error {
  readonly code: string;
  /** 0 if there was no HTTP response. */
  readonly status: number;
  readonly detail: unknown;
  /** Seconds. */
  readonly retryAfter: number | null;
  readonly generationId: string | null;
  /** Of `model_gone`: the model that answers by default. */
  readonly defaultModel: string | null;
}

export class Answer implements AsyncIterable<AnswerEvent> {
  private constructor();
  readonly conversationId: string;
  readonly generationId: string | null;
  readonly text: string;
  readonly reasoning: string;
  /** Until `done`, the last one's arguments may be incomplete. */
  readonly toolCalls: ToolCall[];
  /** Null where it isn't known. */
  readonly history: History | null;
  /** The question, if it waits for its turn: its answer isn't read here. */
  readonly queued: QueuedMessage | null;
  readonly lastEventId: string | null;
  readonly ended: boolean;
  readonly done: Promise<DoneEvent | null>;
  /** The answer to the results of `onToolCalls`; null if there is none. Rejects with what `onToolCalls` throws. */
  readonly next: Promise<Answer | null>;
  leave(): void;
  [Symbol.asyncIterator](): AsyncIterator<AnswerEvent, void>;
}

export class Following implements AsyncIterable<Answer> {
  private constructor();
  readonly conversationId: string;
  leave(): void;
  [Symbol.asyncIterator](): AsyncIterator<Answer, void>;
}

export class ChatClient extends EventTarget {
  constructor(options?: ChatClientOptions);
  readonly status: Status;
  transport: Transport;
  readonly conversations: {
    list(page?: { limit?: number; cursor?: string | null }): Promise<ConversationPage>;
    create(fields?: { title?: string; model_tag?: string }): Promise<Conversation>;
    get(id: string): Promise<ConversationDetail>;
    update(id: string, fields: ConversationUpdate): Promise<Conversation>;
    switchTo(id: string, messageId: string): Promise<Conversation>;
    takeBack(id: string, messageId: string): Promise<null>;
    fork(id: string, messageId: string): Promise<Conversation>;
    delete(id: string): Promise<null>;
  };
  readonly models: {
    list(): Promise<Models>;
    swap(tag: string): Promise<unknown>;
  };
  send(conversationId: string, content: string, options?: SendOptions): Answer;
  regenerate(conversationId: string, options?: AgainOptions): Answer;
  goOn(conversationId: string, options?: AgainOptions): Answer;
  sendResults(conversationId: string, results: ToolResult[], options?: AskOptions): Answer;
  attach(conversationId: string, from?: AttachFrom, options?: AskOptions): Answer;
  follow(conversationId: string, from?: FollowFrom): Following;
  stop(
    conversationId: string,
    options?: { queue?: "clear" },
  ): Promise<{ generation_id: string | null; stopped: boolean }>;
  close(): void;
  addEventListener<K extends keyof ChatClientEvents>(
    type: K,
    listener: (event: ChatClientEvents[K]) => void,
    options?: boolean | ListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: ((event: Event) => void) | { handleEvent(event: Event): void } | null,
    options?: boolean | ListenerOptions,
  ): void;
}

/** Splits a stream of server-sent events into events. ChatClient uses one itself. */
export class EventParser {
  push(text: string): { id: string; data: string }[];
}
