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
 */

import { conversationPath, newKey, query } from "./client/address.js";
import { Answer } from "./client/answer.js";
import { drive } from "./client/drive.js";
import { Following } from "./client/following.js";
import { Link } from "./client/link.js";
import { stay } from "./client/stay.js";
import { Token } from "./client/token.js";

export { Answer } from "./client/answer.js";
export { ChatError } from "./client/errors.js";
export { EventParser } from "./client/event-parser.js";
export { Following } from "./client/following.js";

// The service that this module was loaded from. In two steps: bundlers take `new URL("..", import.meta.url)` for the
// address of an asset.
const here = import.meta.url;
const home = () => new URL("..", here);

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
    const link = (this.#link = new Link(baseUrl ? baseUrl : home(), new Token(token), emit));
    this.transport = transport;

    const one = (/** @type {string} */ conversationId) => conversationPath({ conversationId });
    this.conversations = Object.freeze({
      /** One page, newest first. @param {{limit?: number, cursor?: string | null}} [page] */
      list: ({ limit, cursor } = {}) => link.requests.json("GET", `api/conversations${query({ limit, cursor })}`),
      /** @param {{title?: string, model_tag?: string}} [fields] */
      create: (fields = {}) => link.requests.json("POST", "api/conversations", fields),
      /** With its messages and its running generation. @param {string} id */
      get: (id) => link.requests.json("GET", one(id)),
      /** @param {string} id @param {{title?: string, is_favorited?: boolean}} fields */
      update: (id, fields) => link.requests.json("PUT", one(id), fields),
      /** @param {string} id */
      delete: (id) => link.requests.json("DELETE", one(id)),
    });
    this.models = Object.freeze({
      list: () => link.requests.json("GET", "api/models"),
      /** For administrators. @param {string} tag */
      swap: (tag) => link.requests.json("POST", "api/models/swap", { model_tag: tag }),
    });
  }

  /** "online", "reconnecting", "offline" or "signed-out". */
  get status() {
    return this.#link.status.value;
  }

  /** The transport in use, which may be "sse" where "ws" was wanted and is blocked. Setting it tries anew. */
  get transport() {
    return this.#link.transport.used;
  }

  set transport(wanted) {
    if (wanted !== "sse" && wanted !== "ws") throw new TypeError(`transport must be "sse" or "ws", not ${wanted}`);
    this.#link.transport.want(wanted);
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
    return this.#link.requests.json("POST", conversationPath({ conversationId }, "/stop"));
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
