/**
 * The JavaScript client of the samosaChaat chat API: one module, no dependency, no build step.
 *
 *     import { ChatClient } from "./client.js";
 *
 *     const chat = new ChatClient({ token: () => fetch("/my/chat-token").then((answer) => answer.text()) });
 *     const { id } = await chat.conversations.create();
 *     const answer = chat.send(id, "Hello!");
 *     for await (const event of answer) output.textContent = answer.text;
 *
 * Whatever happens to the connection, an answer's events come once each and in order: the client comes back with
 * the last id that it has seen, and drops what it has seen already.
 *
 * Sections: what callers use (ChatError, ChatClient, Answer, Following), how these are driven over whatever
 * connections there are, server-sent events, the WebSocket, and what all parts share (Link, Token).
 */

const SILENCE_MS = 30_000; // the server says something every 10 s: after this, the connection is dead
const DOUBTFUL_MS = 12_000; // silence that is suspicious when the page comes back from sleep
const REQUEST_MS = 30_000;
const FIRST_PAUSE_MS = 500; // before the second try; doubled with each further one, and jittered
const LONGEST_PAUSE_MS = 15_000;
const TRIES_BEFORE_START = 3; // of a question that the server can't take just now
const POLL_MS = 2000; // between two looks for answers that began elsewhere, without a WebSocket
const HIDDEN_POLL_MS = 15_000;
const OPENING_MS = 5000; // a WebSocket that isn't ready by then is blocked somewhere
const REPLY_MS = 12_000; // the server gives itself 10 s for a statement
const PROBE_MS = 3000;
const EARLY_MS = 60_000; // how long before its end a token is renewed
const UNAUTHENTICATED = 4401; // close codes of the server
const ORIGIN_REFUSED = 1008;
const BROKEN_OFF = 1006; // the browser's: it was refused, or the network broke
const HUNG = "hung"; // and of this side
const REFUSED = "refused";
const NOBODY = "00000000-0000-0000-0000-000000000000";

// ---------------------------------------------------------------------------------------------------------------
// What callers use
// ---------------------------------------------------------------------------------------------------------------

/**
 * Something was refused, or failed for good. `code` is stable and for programs, `message` for people.
 *
 * Codes of the server are listed in its README; the client's own: `network_error` (status 0: the server can't be
 * reached), `timeout`, `token_unavailable` (the token callback failed), `answer_gone` (it can't be continued any
 * more: load the conversation), `http_<status>` (what answered is not the service, but a proxy before it).
 */
export class ChatError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{status?: number, detail?: unknown, retryAfter?: number | null, generationId?: string | null,
   *          cause?: unknown}} [more]
   */
  constructor(code, message, { status = 0, detail = message, retryAfter = null, generationId = null, cause } = {}) {
    super(message, { cause });
    this.name = "ChatError";
    this.code = code;
    this.status = status; // 0: no HTTP status came
    this.detail = detail; // of a 422: the list of fields and what is wrong with them
    this.retryAfter = retryAfter; // seconds; null: the server didn't say
    this.generationId = generationId; // of a 409: the answer that is in the way
  }
}

/**
 * A connection to the service. Events: `status` ("online", "reconnecting", "offline" or "signed-out" in `detail`)
 * and `transport` ("sse" or "ws" in `detail`: which one is used from now on).
 */
export class ChatClient extends EventTarget {
  #link;

  /**
   * @param {{baseUrl?: string, token?: string | ((asked: {expired: boolean}) => string | Promise<string>),
   *          transport?: "sse" | "ws"}} [options]
   *   `baseUrl`: where `api/` lies, absolute or relative to the page; default: the service that this module was loaded
   *   from, so give it where you have copied or bundled the module. `token`: the bearer token, or a function that gets
   *   one, called with `expired: true` when the last one was refused or is about to expire.
   */
  constructor({ baseUrl, token, transport = "sse" } = {}) {
    super();
    const emit = (/** @type {string} */ type, /** @type {string} */ detail) =>
      this.dispatchEvent(new CustomEvent(type, { detail }));
    const link = (this.#link = new Link(baseUrl, new Token(token), emit));
    this.transport = transport;

    const one = (/** @type {string} */ conversationId) => conversationPath({ conversationId });
    this.conversations = Object.freeze({
      /** One page, newest first. @param {{limit?: number, cursor?: string | null}} [page] */
      list: ({ limit, cursor } = {}) => link.json("GET", `api/conversations${query({ limit, cursor })}`),
      /** @param {{title?: string, model_tag?: string}} [fields] */
      create: (fields = {}) => link.json("POST", "api/conversations", fields),
      /** With its messages and its running generation. @param {string} id */
      get: (id) => link.json("GET", one(id)),
      /** @param {string} id @param {{title?: string, is_favorited?: boolean}} fields */
      update: (id, fields) => link.json("PUT", one(id), fields),
      /** @param {string} id */
      delete: (id) => link.json("DELETE", one(id)),
    });
    this.models = Object.freeze({
      list: () => link.json("GET", "api/models"),
      /** For administrators. @param {string} tag */
      swap: (tag) => link.json("POST", "api/models/swap", { model_tag: tag }),
    });
  }

  /** "online", "reconnecting", "offline" or "signed-out". */
  get status() {
    return this.#link.status;
  }

  /** The transport in use, which may be "sse" where "ws" was wanted and is blocked. Setting it tries anew. */
  get transport() {
    return this.#link.transport;
  }

  set transport(wanted) {
    if (wanted !== "sse" && wanted !== "ws") throw new TypeError(`transport must be "sse" or "ws", not ${wanted}`);
    this.#link.transport = wanted;
  }

  /**
   * Send a message and read its answer. Lost connections are mended, and the message is stored once.
   * @param {string} conversationId @param {string} content
   * @param {{temperature?: number, max_tokens?: number, top_k?: number, idempotencyKey?: string}} [options]
   * @returns {Answer}
   */
  send(conversationId, content, options = {}) {
    return this.#ask(conversationId, "messages", { content }, options);
  }

  /**
   * Have the last message answered again; the new answer replaces the old one once it is stored.
   * @param {string} conversationId
   * @param {{temperature?: number, max_tokens?: number, top_k?: number, idempotencyKey?: string}} [options]
   * @returns {Answer}
   */
  regenerate(conversationId, options = {}) {
    return this.#ask(conversationId, "regenerate", {}, options);
  }

  /**
   * Read the answer that is being written in a conversation, from its first event, or from the one after `after`
   * (an answer's `lastEventId`; `text` is what came before). Where there is none it ends at once, and its `done`
   * is null.
   * @param {string} conversationId
   * @param {{after?: string | null, text?: string, generation?: object | null}} [from]
   *   `generation`: what `conversations.get` said, which spares asking again.
   * @returns {Answer}
   */
  attach(conversationId, { after = null, text = "", generation } = {}) {
    return this.#read(new Answer(conversationId, { after, text, generation }));
  }

  /**
   * Stay in a conversation: get each answer that begins elsewhere, in another tab or on another device, and the
   * one that runs now. Not those that this client sends, regenerates or attaches to.
   * @param {string} conversationId
   * @param {{conversation?: {messages: {id: string}[]} | null}} [from]
   *   `conversation`: what `conversations.get` said; answers that began after that are given too.
   * @returns {Following}
   */
  follow(conversationId, { conversation = null } = {}) {
    const following = new Following(conversationId, conversation);
    stay(following, this.#link);
    return following;
  }

  /**
   * Stop the running answer; what it has so far is kept.
   * @param {string} conversationId
   * @returns {Promise<{generation_id: string | null, stopped: boolean}>}
   */
  stop(conversationId) {
    return this.#link.json("POST", conversationPath({ conversationId }, "/stop"));
  }

  /** Leave everything; answers go on at the server. */
  close() {
    this.#link.close();
  }

  #ask(conversationId, kind, fields, { idempotencyKey = newKey(), ...options }) {
    const { temperature, max_tokens, top_k } = options;
    const body = { ...fields, temperature, max_tokens, top_k };
    return this.#read(new Answer(conversationId, { question: { kind, body, key: idempotencyKey } }));
  }

  #read(answer) {
    drive(answer, this.#link);
    return answer;
  }
}

/** An async iterable of what has come and what comes; whoever begins late gets all from the first. */
class Feed {
  #items = [];
  #waiting = [];
  #leaving = new AbortController();
  #failure = null;
  ended = false;

  /** Aborted when nobody wants to read on. */
  get signal() {
    return this.#leaving.signal;
  }

  get isEmpty() {
    return this.#items.length === 0;
  }

  async *[Symbol.asyncIterator]() {
    for (let place = 0; ; ) {
      while (place < this.#items.length) yield this.#items[place++];
      if (this.#failure) throw this.#failure;
      if (this.ended) return;
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Read no more. Nothing is stopped by it at the server. */
  leave() {
    this.end();
    this.#leaving.abort();
  }

  push(item) {
    this.#items.push(item);
    this.#wake();
  }

  /** Nothing comes any more. */
  end() {
    this.ended = true;
    this.#wake();
  }

  /** It can't be read on. @param {unknown} error */
  fail(error) {
    if (this.ended) return;
    this.#failure = error;
    this.leave();
  }

  #wake() {
    for (const resolve of this.#waiting.splice(0)) resolve(undefined);
  }
}

/**
 * An answer on its way: an async iterable of its events, which are read whether anybody iterates or not.
 *
 * Events: `{type, generation_id, conversation_id, seq, …}`; `start` (user_message_id), `token` (token), `reset`
 * (content: the whole text so far), `error` (error, detail), `done` (message_id, finish_reason, token_count,
 * inference_time_ms).
 */
export class Answer extends Feed {
  #settle = { resolve: null, reject: null };
  #seq = -1;

  /** Made by ChatClient. @param {string} conversationId @param {any} [from] */
  constructor(conversationId, { question = null, after = null, text = "", generation } = {}) {
    super();
    this.conversationId = conversationId;
    this.question = question;
    this.generation = generation; // null: known to be none; undefined: not known
    this.generationId = null;
    this.text = text;
    if (after) {
      this.generationId = after.slice(0, after.lastIndexOf(":"));
      this.#seq = Number(after.slice(after.lastIndexOf(":") + 1));
    }
    /**
     * The `done` event; null when it was left, or when there was nothing to attach to. Rejects with a ChatError
     * when the question was refused or the answer can't be continued.
     * @type {Promise<any>}
     */
    this.done = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.done.catch(() => {}); // who iterates gets the error there
  }

  /** What to keep for `attach` after a reload; null before the first event. */
  get lastEventId() {
    return this.generationId === null ? null : `${this.generationId}:${this.#seq}`;
  }

  /** A question whose answer is not known yet. */
  get isOpen() {
    return this.question !== null && this.generationId === null;
  }

  /**
   * Take an event that came; false where it was there already. Raises ChatError where one is missing before it.
   * @param {any} event
   */
  take(event) {
    if (this.ended) return false;
    if (event.generation_id !== this.generationId) {
      // The server knows nothing more of the one that was read, and goes on with the one that runs.
      if (this.generationId !== null && this.question) throw gone();
      this.generationId = event.generation_id;
      this.#seq = -1;
      this.text = "";
    }
    if (event.seq <= this.#seq) return false;
    if (event.type === "token" && event.seq !== this.#seq + 1) throw broken("an event is missing");
    this.#seq = event.seq;
    if (event.type === "token") this.text += event.token;
    if (event.type === "reset") this.text = event.content;
    if (event.type === "done") {
      this.#settle.resolve(event);
      this.ended = true;
    }
    this.push(event);
    return true;
  }

  /** The server has nothing for it: fine where nothing was read yet. */
  miss() {
    if (!this.isEmpty || this.question) throw gone();
    this.end();
  }

  end() {
    this.#settle.resolve(null); // without effect after `done`
    super.end();
  }

  fail(error) {
    this.#settle.reject(error);
    super.fail(error);
  }
}

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

// ---------------------------------------------------------------------------------------------------------------
// How answers and stays are driven over whatever connections there are
// ---------------------------------------------------------------------------------------------------------------

/** Read an answer to its end, over as many connections as it takes. Never rejects: the answer tells. */
async function drive(answer, link) {
  const unlist = link.list(answer);
  const pause = new Pause(link, answer.signal);
  try {
    for (let tries = 1; !answer.ended; tries++) {
      let retryAfter = null;
      try {
        if (answer.lastEventId === null && !answer.question) await lookForRunning(answer, link);
        if (!answer.ended) await (link.transport === "ws" ? readSocket : readStream)(answer, link, pause);
      } catch (error) {
        const hasBegun = answer.lastEventId !== null;
        const isTooMuch = !hasBegun && error.code !== "network_error" && tries >= TRIES_BEFORE_START;
        if (isTooMuch || !isPassing(error, hasBegun)) throw error;
        retryAfter = error.retryAfter;
      }
      if (!answer.ended) await pause.wait(retryAfter);
    }
  } catch (error) {
    answer.fail(error);
  } finally {
    pause.mended();
    unlist();
  }
}

/** Find out which generation there is to attach to; its first event is told from what the server says of it. */
async function lookForRunning(answer, link) {
  let { generation } = answer;
  if (generation === undefined) ({ generation } = await link.json("GET", conversationPath(answer)));
  if (generation === null) return answer.miss();
  const { id: generation_id, conversation_id, user_message_id } = generation;
  answer.take({ generation_id, conversation_id, user_message_id, type: "start", seq: 0 });
}

/** Tell of the answers that begin in a conversation, until it is left. Never rejects. */
async function stay(following, link) {
  const unlist = link.list(following);
  const pause = new Pause(link, following.signal);
  while (!following.ended) {
    try {
      if (link.transport === "ws") {
        await (await link.socket()).stay(following, () => look(following, link, pause));
      } else {
        await look(following, link, pause);
        await link.sleep(globalThis.document?.hidden ? HIDDEN_POLL_MS : POLL_MS, following.signal);
      }
    } catch (error) {
      if (!isPassing(error, true)) following.fail(error);
      else if (!following.ended) await pause.wait(error.retryAfter);
    }
  }
  pause.mended();
  unlist();
}

/** Look for what began elsewhere, or began and ended. Most looks read the top of a list and no more. */
async function look(following, link, pause) {
  const { conversationId, updatedAt } = following;
  const { items } = await link.json("GET", `api/conversations${query({ limit: 20 })}`);
  pause.mended();
  pause.reset();
  const listed = items.find(({ id }) => id === conversationId)?.updated_at ?? updatedAt;
  // While an answer is read here, nothing else begins; its end will show in the next look.
  if ((updatedAt !== null && listed === updatedAt) || link.reading(conversationId).length) return;
  const conversation = await link.json("GET", conversationPath(following));
  if (following.ended || link.reading(conversationId).length) return;
  following.updatedAt = conversation.updated_at;
  const { generation } = conversation;
  const message = following.news(conversation);
  if (generation) give([following], new Answer(conversationId, { generation }), link);
  else if (message) following.push(endedAnswer(message));
}

/** An answer that nobody saw while it was written. */
function endedAnswer({ id: message_id, conversation_id, content, finish_reason, token_count, inference_time_ms }) {
  const answer = new Answer(conversation_id);
  const common = { generation_id: null, conversation_id };
  answer.take({ ...common, type: "reset", seq: 0, reset: true, content });
  const end = { message_id, finish_reason, token_count, inference_time_ms };
  answer.take({ ...common, type: "done", seq: 1, done: true, ...end });
  return answer;
}

function give(followings, answer, link) {
  for (const following of followings) following.push(answer);
  drive(answer, link);
}

/** Whether the same request may do better in a while. */
function isPassing(error, hasBegun) {
  if (!(error instanceof ChatError)) return false;
  if (error.code === "token_unavailable") return error.cause instanceof TypeError; // as fetch raises without a network
  if (["network_error", "timeout"].includes(error.code) || [502, 503, 504].includes(error.status)) return true;
  return hasBegun && [408, 429, 500].includes(error.status);
}

function conversationPath({ conversationId }, more = "") {
  return `api/conversations/${encodeURIComponent(conversationId)}${more}`;
}

/** The time between two tries; the client is "reconnecting" from the first one's failure to the next success. */
class Pause {
  #link;
  #signal;
  #next = FIRST_PAUSE_MS;

  constructor(link, signal) {
    this.#link = link;
    this.#signal = signal;
  }

  /** There is a connection. */
  mended() {
    this.#link.mended(this);
  }

  /** It is of use. */
  reset() {
    this.#next = FIRST_PAUSE_MS;
  }

  async wait(retryAfter) {
    this.#link.troubled(this);
    const jittered = this.#next * (0.5 + Math.random() / 2);
    this.#next = Math.min(this.#next * 2, LONGEST_PAUSE_MS);
    await this.#link.sleep(Math.max(jittered, (retryAfter ?? 0) * 1000), this.#signal);
  }
}

// ---------------------------------------------------------------------------------------------------------------
// Server-sent events, by fetch: EventSource sends neither headers nor a body
// ---------------------------------------------------------------------------------------------------------------

/** One connection: the question, or what comes after the last event, until the end of the stream. */
async function readStream(answer, link, pause) {
  const attempt = new Attempt(answer.signal, link);
  try {
    const response = await openStream(answer, link, attempt.signal);
    if (response.status === 204) return answer.miss();
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) throw foreign(response);
    pause.mended();
    const reader = response.body.getReader();
    const decoder = new TextDecoder(); // keeps the bytes of a character that another chunk completes
    const parser = new EventParser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return; // read until here after the last event, too: the connection can be used again
      attempt.heard();
      for (const message of parser.push(decoder.decode(value, { stream: true }))) {
        if (answer.take(asEvent(message, answer.conversationId))) pause.reset();
      }
    }
  } catch (error) {
    throw error instanceof ChatError ? error : broken("the connection broke off", error);
  } finally {
    attempt.end();
  }
}

function openStream(answer, link, signal) {
  if (answer.lastEventId !== null) {
    return link.fetch("GET", conversationPath(answer, `/stream${query({ after: answer.lastEventId })}`), { signal });
  }
  const { kind, body, key } = answer.question;
  const headers = { "Idempotency-Key": key };
  return link.fetch("POST", conversationPath(answer, `/${kind}`), { body, signal, headers });
}

function asEvent({ id, data }, conversationId) {
  const place = id.lastIndexOf(":");
  const fields = JSON.parse(data);
  const type = ["token", "reset", "error", "done"].find((name) => name in fields) ?? "start";
  return {
    ...fields,
    type,
    conversation_id: conversationId,
    generation_id: id.slice(0, place),
    seq: Number(id.slice(place + 1)),
  };
}

/** Cuts text into events as the HTML standard says (section 9.2.6), wherever the chunks end. */
export class EventParser {
  #rest = "";
  #id = "";
  #data = [];

  /** @param {string} text @returns {{id: string, data: string}[]} the events that this completes */
  push(text) {
    const events = [];
    // A carriage return at the very end may have its line feed in the next chunk.
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = /** @type {string} */ (lines.pop());
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) events.push({ id: this.#id, data: this.#data.join("\n") });
        this.#data = [];
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon); // empty for a comment
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "data") this.#data.push(value);
      else if (field === "id") this.#id = value;
    }
    return events;
  }
}

/** One connection's patience: aborted when the answer ends, after silence, and when the network has changed. */
class Attempt {
  #controller = new AbortController();
  #heardAt = Date.now();
  #timer;
  #end;

  constructor(signal, link) {
    const abort = () => this.#controller.abort();
    const stop = link.onWake((changed) => {
      if (changed || Date.now() - this.#heardAt > DOUBTFUL_MS) abort();
    });
    signal.addEventListener("abort", abort);
    this.#end = () => {
      signal.removeEventListener("abort", abort);
      stop();
    };
    this.#watch();
  }

  get signal() {
    return this.#controller.signal;
  }

  heard() {
    this.#heardAt = Date.now();
    this.#watch();
  }

  end() {
    clearTimeout(this.#timer);
    this.#end();
    this.#controller.abort(); // lets go of the connection where the body wasn't read to its end
  }

  #watch() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#controller.abort(), SILENCE_MS);
  }
}

// ---------------------------------------------------------------------------------------------------------------
// The WebSocket: one for all conversations
// ---------------------------------------------------------------------------------------------------------------

async function readSocket(answer, link, pause) {
  const socket = await link.socket();
  pause.mended();
  if (!(await socket.read(answer, () => pause.reset()))) await readStream(answer, link, pause);
}

/**
 * One WebSocket, from its handshake to its end, after which it is of no use.
 *
 * The server has one subscription a conversation and socket. Here that is a room: the answers that are read by it,
 * and who stays. A command's acknowledgement comes before the events of what it began.
 */
class Socket {
  #link;
  #socket;
  #token;
  #rooms = new Map();
  #asked = new Map();
  #refs = 0;
  #heardAt = Date.now();
  #isReady = false;
  #isProbing = false;
  #opening;
  #beat;
  #renewal;
  #unlisten;
  #settle = { ready: null, over: null };
  /** The close code, or HUNG; null while it lives. */
  code = null;

  constructor(link, url, token) {
    this.#link = link;
    this.#token = token;
    /** Until the server knows who we are. @type {Promise<void>} */
    this.ready = new Promise((resolve, reject) => (this.#settle.ready = { resolve, reject }));
    /** Rejects when it has ended. @type {Promise<never>} */
    this.over = new Promise((_, reject) => (this.#settle.over = reject));
    this.over.catch(() => {});
    const socket = (this.#socket = new WebSocket(url));
    socket.onopen = () => {
      this.#patience(REPLY_MS); // the auth service may be slow
      if (token !== null) this.#say({ type: "auth", token });
    };
    socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    socket.onclose = ({ code }) => this.end(code);
    this.#patience(OPENING_MS);
    this.#beat = setInterval(() => this.#rooms.size && this.#isDoubtful && this.#probe(), DOUBTFUL_MS);
    this.#unlisten = link.onWake((changed) => (changed || this.#isDoubtful) && this.#probe());
  }

  /** Read an answer to its end. False where it can't be read here: its subscription is past that place. */
  async read(answer, onBegun) {
    const room = this.#enter(answer.conversationId);
    try {
      if (answer.lastEventId === null) {
        const { kind, body, key } = answer.question;
        const type = kind === "messages" ? "send" : kind;
        const asked = { type, conversation_id: room.id, ...body, idempotency_key: key };
        const asking = this.#ask(asked);
        this.#joining(room, asking); // it subscribes, too
        room.answers.set((await asking).generation_id, answer);
        this.flush(room.id);
      } else {
        await this.#join(room);
      }
      if (![...room.answers.values()].includes(answer)) return false;
      onBegun();
      await Promise.race([answer.done.catch(() => {}), this.over]);
      return true;
    } finally {
      for (const [id, reader] of room.answers) if (reader === answer) room.answers.delete(id);
      this.#exit(room);
    }
  }

  /** Give somebody what begins in a conversation, until it leaves; `look` finds what began before. */
  async stay(following, look) {
    const room = this.#enter(following.conversationId);
    room.followings.add(following);
    try {
      await this.#join(room);
      await look();
      const left = new Promise((resolve) => following.signal.addEventListener("abort", resolve));
      if (!following.ended) await Promise.race([left, this.over]);
    } finally {
      room.followings.delete(following);
      this.#exit(room);
    }
  }

  /** Deliver what waited until a question was acknowledged or given up. */
  flush(conversationId) {
    for (const event of this.#rooms.get(conversationId)?.held.splice(0) ?? []) this.#deliver(event);
  }

  end(code) {
    if (this.code !== null) return;
    this.code = code;
    clearTimeout(this.#opening);
    clearInterval(this.#beat);
    clearTimeout(this.#renewal);
    this.#unlisten();
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    if (code === UNAUTHENTICATED && this.#isReady) this.#link.refuse(this.#token);
    const error = broken("the WebSocket has ended");
    this.#settle.ready.reject(code === UNAUTHENTICATED ? signedOut() : error);
    for (const { reject, timer } of this.#asked.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#settle.over(error);
  }

  #patience(milliseconds) {
    clearTimeout(this.#opening);
    this.#opening = setTimeout(() => this.end(HUNG), milliseconds);
  }

  get #isDoubtful() {
    return Date.now() - this.#heardAt > DOUBTFUL_MS;
  }

  #enter(id) {
    let room = this.#rooms.get(id);
    if (!room) {
      room = { id, joined: null, answers: new Map(), followings: new Set(), held: [], guests: 0 };
      this.#rooms.set(id, room);
    }
    room.guests++;
    return room;
  }

  #exit(room) {
    if (--room.guests) return;
    this.#rooms.delete(room.id);
    if (room.joined && this.code === null) this.#say({ type: "unsubscribe", ref: 0, conversation_id: room.id });
  }

  /** Subscribe, once: a second subscription would take the first one's place, and what that has not sent yet. */
  async #join(room) {
    await room.joined?.catch(() => {});
    await (room.joined ?? this.#joining(room, this.#subscribe(room)));
  }

  #joining(room, joined) {
    room.joined ??= joined;
    joined.catch(() => {
      if (room.joined === joined) room.joined = null;
    });
    return joined;
  }

  async #subscribe(room) {
    const read = this.#link.reading(room.id).find(({ lastEventId }) => lastEventId !== null);
    if (read) room.answers.set(read.generationId, read);
    const asked = { type: "subscribe", conversation_id: room.id, after: read?.lastEventId };
    const { generation_id } = await this.#ask(asked);
    if (read && generation_id !== read.generationId) room.answers.delete(read.generationId);
  }

  #hear(frame) {
    this.#heardAt = Date.now();
    if ("seq" in frame) this.#deliver(frame);
    else if (frame.type === "ready") this.#admitted();
    else this.#answered(frame);
  }

  #admitted() {
    clearTimeout(this.#opening);
    this.#isReady = true;
    this.#settle.ready.resolve();
    const life = this.#link.tokenLife;
    if (life !== null) this.#renewal = setTimeout(() => this.#renew(), life);
  }

  async #renew() {
    try {
      const token = await this.#link.token();
      this.#say({ type: "auth", token });
      this.#token = token;
    } catch {
      // the server will end this socket when the old one has expired, and then it is asked for again
    }
  }

  #answered({ type, ref, ...told }) {
    const asked = this.#asked.get(ref);
    this.#asked.delete(ref);
    clearTimeout(asked?.timer);
    if (type !== "error") asked?.resolve(told);
    else if (asked) asked.reject(refused(told));
    else if (!this.#isReady) {
      this.#settle.ready.reject(refused(told)); // the token can't be checked just now
      this.end(REFUSED);
    }
  }

  #deliver(event) {
    const room = this.#rooms.get(event.conversation_id);
    if (!room) return; // everybody has left
    const answer = room.answers.get(event.generation_id) ?? this.#adopt(room, event);
    try {
      answer?.take(event);
    } catch {
      this.end(REFUSED); // an event is missing: come back for it
    }
  }

  /** Who reads a generation that this room hasn't heard of yet, if anybody does. */
  #adopt(room, event) {
    const reading = this.#link.reading(room.id);
    if (reading.some(({ isOpen }) => isOpen)) {
      room.held.push(event); // it may be the answer to that question
      return null;
    }
    if (event.type !== "start") return null; // of one that was left
    let answer = reading.find(({ generationId }) => generationId === event.generation_id);
    if (!answer && room.followings.size) {
      answer = new Answer(room.id);
      answer.take(event);
      give(room.followings, answer, this.#link);
    }
    if (answer) room.answers.set(event.generation_id, answer);
    return answer;
  }

  /** A command, and its acknowledgement. Raises ChatError. */
  #ask(command, patience = REPLY_MS) {
    const ref = ++this.#refs;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.end(HUNG), patience);
      this.#asked.set(ref, { resolve, reject, timer });
      this.#say({ ref, ...command });
    });
  }

  /** Browsers don't show the server's pings: something is asked that costs nothing, to hear whether it is there. */
  async #probe() {
    if (!this.#isReady || this.#isProbing) return;
    this.#isProbing = true;
    try {
      await this.#ask({ type: "unsubscribe", conversation_id: NOBODY }, PROBE_MS);
    } catch {
      // it has ended, or was asked too much: both are seen elsewhere
    } finally {
      this.#isProbing = false;
    }
  }

  #say(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}

// ---------------------------------------------------------------------------------------------------------------
// What all parts share
// ---------------------------------------------------------------------------------------------------------------

/** The way to the service: its address, requests with the token, and how the connection is. */
class Link {
  #base;
  #token;
  #emit;
  #wanted = "sse";
  #used = "sse";
  #isBlocked = false; // WebSockets are, while plain requests pass
  #failedUpgrades = 0;
  #opening = null;
  #socket = null;
  #status = "online";
  #isSignedOut = false;
  #troubled = new Set();
  #wakers = new Set();
  #feeds = new Set();
  #closing = new AbortController();

  constructor(baseUrl, token, emit) {
    this.#base = baseUrl ? new URL(baseUrl, globalThis.document?.baseURI) : new URL("..", import.meta.url);
    if (!this.#base.pathname.endsWith("/")) this.#base.pathname += "/";
    this.#token = token;
    this.#emit = emit;
    this.#listen();
    this.#tell();
  }

  get status() {
    return this.#status;
  }

  get transport() {
    return this.#wanted === "ws" && !this.#isBlocked && "WebSocket" in globalThis ? "ws" : "sse";
  }

  set transport(wanted) {
    this.#wanted = wanted;
    this.#unblock();
    if (wanted === "sse") this.#socket?.end(REFUSED); // who reads by it goes on by streams
  }

  /** The WebSocket, opened where there is none. Raises ChatError. */
  socket() {
    if (this.#opening === null) {
      const opening = (this.#opening = this.#open());
      const forget = () => {
        if (this.#opening === opening) this.#opening = null;
      };
      opening.then((socket) => socket.over.catch(forget), forget);
    }
    return this.#opening;
  }

  async #open() {
    const url = new URL("api/ws", this.#base);
    url.protocol = url.protocol.replace("http", "ws");
    for (let renewed = false; ; renewed = true) {
      const token = await this.token();
      const socket = (this.#socket = new Socket(this, url, token));
      try {
        await socket.ready;
        this.#failedUpgrades = 0;
        this.#signedOut(false);
        return socket;
      } catch (error) {
        if (error.status === 0) await this.#suspect(socket.code);
        if (error.status !== 401) throw error;
        if (renewed || !this.#token.refuse(token)) throw this.#signedOut(true, error);
      }
    }
  }

  /** After a failed upgrade: where plain requests pass, a proxy blocks WebSockets, and streams are used from now on. */
  async #suspect(code) {
    if (![HUNG, BROKEN_OFF, ORIGIN_REFUSED].includes(code)) return; // the server said why
    if (!(await this.#passes())) this.#failedUpgrades = 0; // the network is down
    else if (++this.#failedUpgrades >= 2 || code !== BROKEN_OFF) {
      this.#isBlocked = true;
      this.#tellTransport();
    }
  }

  async #passes() {
    const signal = AbortSignal.timeout(OPENING_MS);
    try {
      return (await fetch(new URL("api/health", this.#base), { cache: "no-store", signal })).ok;
    } catch {
      return false;
    }
  }

  #unblock() {
    this.#isBlocked = false;
    this.#failedUpgrades = 0;
    this.#tellTransport();
  }

  #tellTransport() {
    if (this.transport === this.#used) return;
    this.#used = this.transport;
    this.#emit("transport", this.#used);
  }

  /** A request whose answer is JSON, or nothing. Raises ChatError. */
  async json(method, path, body = null) {
    const response = await this.fetch(method, path, { body, signal: AbortSignal.timeout(REQUEST_MS) });
    if (response.status === 204) return null;
    if (!response.headers.get("Content-Type")?.includes("json")) throw foreign(response);
    try {
      return await response.json();
    } catch (error) {
      throw broken("the answer broke off", error);
    }
  }

  /** A request with a good token. Raises ChatError for whatever is no success. */
  async fetch(method, path, { body = null, signal, headers = {} }) {
    for (let renewed = false; ; renewed = true) {
      const token = await this.token();
      const given = new Headers(headers);
      if (token !== null) given.set("Authorization", `Bearer ${token}`);
      if (body !== null) given.set("Content-Type", "application/json");
      const text = body === null ? null : JSON.stringify(body);
      const request = { method, headers: given, body: text, signal, cache: /** @type {const} */ ("no-store") };
      const response = await this.#send(new URL(path, this.#base), request);
      if (response.status < 500 && response.status !== 401) this.#signedOut(false);
      if (response.ok) return response;
      const error = await refusal(response);
      if (error.status !== 401) throw error;
      if (renewed || !this.#token.refuse(token)) throw this.#signedOut(true, error);
    }
  }

  async #send(url, request) {
    try {
      return await fetch(url, request);
    } catch (error) {
      if (error?.name === "TimeoutError") throw new ChatError("timeout", "The service is too slow.", { cause: error });
      throw broken("the service can't be reached", error);
    }
  }

  /** Milliseconds until the token should be renewed; null: not known. */
  get tokenLife() {
    return this.#token.life;
  }

  /** The server has refused this one, or will. */
  refuse(token) {
    this.#token.refuse(token);
  }

  /** A token, or null where none is wanted. Raises ChatError. */
  async token() {
    let token;
    try {
      token = await this.#token.get();
    } catch (cause) {
      const error = new ChatError("token_unavailable", "There is no token: sign in again.", { cause });
      throw this.#signedOut(!isPassing(error, true), error);
    }
    // What no header can carry is no token: somebody has pasted more than it.
    if (token === null || /^[\x21-\x7e]+$/.test(token)) return token;
    this.#token.refuse(token); // the next call asks for another one
    throw this.#signedOut(true, signedOut());
  }

  /** Wait so long, or until the network or the page comes back, or until `signal`. */
  async sleep(milliseconds, signal) {
    if (signal.aborted) return;
    await new Promise((resolve) => {
      const timer = setTimeout(end, milliseconds);
      const stop = this.onWake(end);
      signal.addEventListener("abort", end);
      function end() {
        clearTimeout(timer);
        stop();
        signal.removeEventListener("abort", end);
        resolve(undefined);
      }
    });
  }

  /** Have something called when the page wakes up, with whether the network may be another one. */
  onWake(call) {
    this.#wakers.add(call);
    return () => this.#wakers.delete(call);
  }

  /** Remember an answer or a stay while it is driven. */
  list(feed) {
    const { conversationId } = feed;
    this.#feeds.add(feed);
    feed.done?.then(
      (done) => this.#in(conversationId, Following).forEach((following) => following.knows(done)),
      () => {},
    );
    return () => {
      this.#feeds.delete(feed);
      this.#socket?.flush(conversationId);
    };
  }

  /** The answers of a conversation that this client reads just now. */
  reading(conversationId) {
    return this.#in(conversationId, Answer).filter(({ ended }) => !ended);
  }

  #in(conversationId, kind) {
    return [...this.#feeds].filter((feed) => feed instanceof kind && feed.conversationId === conversationId);
  }

  troubled(who) {
    this.#troubled.add(who);
    this.#tell();
  }

  mended(who) {
    this.#troubled.delete(who);
    this.#tell();
  }

  #signedOut(isSignedOut, error = null) {
    this.#isSignedOut = isSignedOut;
    this.#tell();
    return error;
  }

  close() {
    this.#closing.abort();
    for (const feed of [...this.#feeds]) feed.leave();
    this.#socket?.end(REFUSED);
  }

  #tell() {
    let status = "online";
    if (this.#troubled.size) status = "reconnecting";
    if (globalThis.navigator?.onLine === false) status = "offline";
    if (this.#isSignedOut) status = "signed-out";
    if (status === this.#status) return;
    this.#status = status;
    this.#emit("status", status);
  }

  #listen() {
    const { signal } = this.#closing;
    const wake = (/** @type {boolean} */ changed) => [...this.#wakers].forEach((call) => call(changed));
    const on = (/** @type {any} */ target, /** @type {string} */ type, /** @type {() => void} */ call) =>
      target?.addEventListener?.(type, call, { signal });
    on(globalThis, "offline", () => this.#tell());
    on(globalThis, "online", () => {
      this.#tell();
      this.#unblock();
      wake(true);
    });
    on(globalThis, "pageshow", () => wake(false));
    on(globalThis.document, "resume", () => wake(false));
    on(globalThis.document, "visibilitychange", () => document.visibilityState === "visible" && wake(false));
  }
}

/** The bearer token, got once and renewed once, however many ask at the same time. */
class Token {
  #source;
  #token = null;
  #renewAt = Infinity;
  #isRefused = false;
  #asking = null;

  constructor(source) {
    this.#source = source ?? null;
    if (typeof source !== "function") this.#token = this.#source;
  }

  /** Milliseconds until it should be renewed; null: not known. */
  get life() {
    const life = this.#renewAt - Date.now();
    return life < 2 ** 31 ? Math.max(life, 0) : null; // more is too much for a timer
  }

  /** The token, or null where none is wanted: a proxy adds it. */
  async get() {
    if (typeof this.#source !== "function") return this.#token;
    if (this.#token === null || this.#isRefused) return this.#ask(this.#isRefused);
    if (Date.now() < this.#renewAt) return this.#token;
    this.#renewAt = Infinity; // tried once: the old one is good for a while
    return this.#ask(true).catch(() => this.#token);
  }

  /** This one is no good any more; whether another one can be had. */
  refuse(token) {
    if (token === this.#token) this.#isRefused = true;
    return typeof this.#source === "function";
  }

  #ask(expired) {
    this.#asking ??= (async () => {
      try {
        const token = await this.#source({ expired });
        if (typeof token !== "string" || !token) throw new Error("the token function gave no token");
        this.#token = token;
        this.#isRefused = false;
        this.#renewAt = Date.now() + renewIn(this.#token);
        return this.#token;
      } finally {
        this.#asking = null;
      }
    })();
    return this.#asking;
  }
}

/** Milliseconds after which a JSON Web Token should be renewed; infinity where it isn't one, or the clock is wrong. */
function renewIn(token) {
  try {
    const { iat, exp } = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    const left = Math.min(exp * 1000 - Date.now(), (exp - iat) * 1000);
    return left > 0 ? left - Math.min(left / 5, EARLY_MS) : Infinity;
  } catch {
    return Infinity;
  }
}

async function refusal(response) {
  const { status } = response;
  const retry_after = Number(response.headers.get("Retry-After")) || null;
  let body = null;
  try {
    body = await response.json();
  } catch {
    // a proxy's page, or nothing
  }
  if (typeof body?.code === "string") return refused({ status, retry_after, ...body });
  return foreign(response, retry_after);
}

/** What answered is something before the service. */
function foreign({ status }, retryAfter = null) {
  return new ChatError(`http_${status}`, `The service can't be reached: ${status}.`, { status, retryAfter });
}

function refused({ code, detail, status, retry_after, generation_id = null }) {
  const more = { status, detail, retryAfter: retry_after, generationId: generation_id };
  return new ChatError(code, sentence(detail), more);
}

function signedOut() {
  return new ChatError("invalid_token", "Your session has ended: sign in again.", { status: 401 });
}

function sentence(detail) {
  if (!Array.isArray(detail)) return String(detail);
  return detail.map(complaint).join(" ");
}

/** What is wrong with a field, for who filled it in: the validator's words are for programmers. */
function complaint({ type, loc = [], msg }) {
  const name = (loc.filter((part) => part !== "body").join(" ") || "request").replaceAll("_", " ");
  const most = /at most (\d+)/.exec(msg)?.[1];
  if (/too_long$/.test(type) && most) return `The ${name} is too long: at most ${most} characters.`;
  if (/too_short$/.test(type)) return `The ${name} is empty.`;
  if (type === "missing") return `The ${name} is missing.`;
  return `${name}: ${String(msg).replace(/^Value error, /, "")}.`;
}

function broken(what, cause) {
  return new ChatError("network_error", `Trouble with the network: ${what}.`, { cause });
}

function gone() {
  return new ChatError("answer_gone", "This answer can't be continued any more: load the conversation again.");
}

function query(fields) {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
}

function newKey() {
  // randomUUID is there in secure contexts only, and a page may be served over plain HTTP in a local network.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
