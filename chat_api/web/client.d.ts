/** The types of the JavaScript client of the samosaChaat chat API. client.js documents what each name does. */

export type Transport = "sse" | "ws";
export type Status = "online" | "reconnecting" | "offline" | "signed-out";
export type FinishReason = "stop" | "length" | "stopped" | "interrupted" | "error";

export interface Conversation {
  id: string;
  user_id: string;
  title: string;
  model_tag: string;
  is_favorited: boolean;
  created_at: string;
  updated_at: string;
}

export interface Message {
  id: string;
  conversation_id: string;
  role: "user" | "assistant" | "system";
  content: string;
  token_count: number;
  model_tag: string;
  inference_time_ms: number;
  created_at: string;
  finish_reason: FinishReason | null;
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
  items: Conversation[];
  grouped: Record<string, Conversation[]>;
  limit: number;
  offset: number;
  next_cursor: string | null;
}

export interface ConversationDetail extends Conversation {
  messages: Message[];
  generation: Generation | null;
}

export interface Models {
  current_model: string | null;
  models: unknown[];
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
}

export interface TokenEvent extends EventBase {
  type: "token";
  token: string;
  /** Other fields that the model server sent. */
  [more: string]: unknown;
}

export interface ResetEvent extends EventBase {
  type: "reset";
  reset: true;
  /** The whole text so far. */
  content: string;
}

export interface ErrorEvent extends EventBase {
  type: "error";
  error: string;
  detail: string;
}

export interface DoneEvent extends EventBase {
  type: "done";
  done: true;
  /** Null if there was no text to store. */
  message_id: string | null;
  finish_reason: FinishReason;
  token_count: number;
  inference_time_ms: number;
}

export type AnswerEvent = StartEvent | TokenEvent | ResetEvent | ErrorEvent | DoneEvent;

export interface AskOptions {
  temperature?: number;
  max_tokens?: number;
  top_k?: number;
  /** Default: a new one for each call. */
  idempotencyKey?: string;
}

export interface ChatClientOptions {
  /** Where `api/` is. Default: the service that the module was loaded from. */
  baseUrl?: string;
  token?: string | ((asked: { expired: boolean }) => string | Promise<string>);
  transport?: Transport;
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
}

export class Answer implements AsyncIterable<AnswerEvent> {
  private constructor();
  readonly conversationId: string;
  readonly generationId: string | null;
  readonly text: string;
  readonly lastEventId: string | null;
  readonly ended: boolean;
  readonly done: Promise<DoneEvent | null>;
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
    update(id: string, fields: { title?: string; is_favorited?: boolean }): Promise<Conversation>;
    delete(id: string): Promise<null>;
  };
  readonly models: {
    list(): Promise<Models>;
    swap(tag: string): Promise<unknown>;
  };
  send(conversationId: string, content: string, options?: AskOptions): Answer;
  regenerate(conversationId: string, options?: AskOptions): Answer;
  attach(
    conversationId: string,
    from?: { after?: string | null; text?: string; generation?: Generation | null },
  ): Answer;
  follow(conversationId: string, from?: { conversation?: { messages: { id: string }[] } | null }): Following;
  stop(conversationId: string): Promise<{ generation_id: string | null; stopped: boolean }>;
  close(): void;
  addEventListener<K extends keyof ChatClientEvents>(
    type: K,
    listener: (event: ChatClientEvents[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/** Splits a stream of server-sent events into events. ChatClient uses one itself. */
export class EventParser {
  push(text: string): { id: string; data: string }[];
}
