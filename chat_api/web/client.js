/**
 * The JavaScript client of the samosaChaat chat API. It has no dependencies and needs no build step.
 *
 *     import { ChatClient } from "./client.js";
 *
 *     const chat = new ChatClient({ token: () => fetch("/my/chat-token").then((response) => response.text()) });
 *     const { id } = await chat.conversations.create();
 *     const answer = chat.send(id, "Hello!");
 *     for await (const event of answer) output.textContent = answer.text;
 *
 * Whatever happens to the connection, an answer's events arrive once each and in order: the client reconnects with the
 * id of the last event that it has seen, and drops events that it has seen before.
 *
 * Import this file alone; the modules in client/ are its parts. To serve the client from elsewhere, copy this file and
 * the folder client/ (and client.d.ts for TypeScript), and pass `baseUrl`. For bundlers and Node there is an npm package,
 * which `make npm` makes of these files.
 */

import { conversationPath, newKey, serviceOf } from "./client/address.js";
import { Answer } from "./client/answer.js";
import { conversationsOf, modelsOf } from "./client/conversations.js";
import { customEvent } from "./client/custom-event.js";
import { drive } from "./client/drive.js";
import { follow } from "./client/follow.js";
import { Following } from "./client/following.js";
import { Link } from "./client/link.js";
import { Token } from "./client/token.js";
import { runTools } from "./client/tools.js";

export { Answer } from "./client/answer.js";
export { ChatError } from "./client/errors.js";
export { EventParser } from "./client/event-parser.js";
export { Following } from "./client/following.js";

// What those import. It is named here so that a browser fetches all modules at once, in one round trip after this one.
import "./client/closes.js";
import "./client/feed.js";
import "./client/pause.js";
import "./client/requests.js";
import "./client/room.js";
import "./client/socket.js";
import "./client/status.js";
import "./client/stream.js";
import "./client/times.js";
import "./client/transport.js";
import "./client/wakes.js";
import "./client/words.js";

// The options of a question that the service gets, called as it calls them.
const SENT = "temperature max_tokens top_k thinking_mode force_web_search tools tool_choice when_running".split(" ");

// By a name, because bundlers take a URL that is made from `import.meta.url` itself for the address of an asset.
const here = import.meta.url;

/**
 * A connection to the service. Its events: `status`, with "online", "reconnecting", "offline" or "signed-out" in
 * `detail`; and `transport`, with "sse" or "ws" in `detail`, when the transport in use changes.
 */
export class ChatClient extends EventTarget {
  #link;

  /**
   * @param {{baseUrl?: string, token?: string | ((asked: {expired: boolean}) => string | Promise<string>),
   *          transport?: "sse" | "ws", WebSocket?: any}} [options]
   *   `baseUrl`: where `api/` is, absolute or relative to the page. The default is the service that this module was
   *   loaded from; it throws a TypeError if the module comes from elsewhere, as in a bundle. `token`: the bearer token, or
   *   a function that returns one; it is called with `expired: true` when the last token was refused or is about to
   *   expire. `WebSocket`: the class to use where there is no global one, such as that of the package ws.
   */
  constructor({ baseUrl, token, transport = "sse", WebSocket } = {}) {
    super();
    const emit = (/** @type {string} */ type, /** @type {string} */ detail) =>
      this.dispatchEvent(customEvent(type, detail));
    const link = (this.#link = new Link(baseUrl || serviceOf(here), new Token(token), emit, WebSocket));
    this.transport = transport;

    this.conversations = conversationsOf(link.requests);
    this.models = modelsOf(link.requests);
  }

  /** "online", "reconnecting", "offline" or "signed-out". */
  get status() {
    return this.#link.status.value;
  }

  /** The transport in use. It may be "sse" although "ws" was set and is blocked; setting "ws" again tries again. */
  get transport() {
    return this.#link.transport.used;
  }

  set transport(wanted) {
    if (wanted !== "sse" && wanted !== "ws") throw new TypeError(`transport must be "sse" or "ws", not ${wanted}`);
    this.#link.transport.want(wanted);
  }

  /**
   * Send a message and read its answer. Lost connections are restored, and the message is stored once.
   *
   * With `when_running: "queue"`, a message that meets a running answer waits for its turn: then the answer here ends
   * without an event, and its `queued` has the message.
   * @param {string} conversationId @param {string} content @param {import("./client.js").SendOptions} [options]
   *   `parentId`: the message that it comes after, beside what else does; so a question is edited. Null: it begins the
   *   conversation. Left out: it comes after the last message.
   * @returns {Answer}
   */
  send(conversationId, content, { parentId, ...options } = {}) {
    return this.#ask(conversationId, "messages", { content, parent_id: parentId }, options);
  }

  /**
   * Do an answer again. The new one is shown in place of the old one once it is stored; the old one stays beside it.
   * @param {string} conversationId @param {import("./client.js").AgainOptions} [options]
   *   `messageId`: the answer; left out: the last one.
   * @returns {Answer}
   */
  regenerate(conversationId, { messageId, ...options } = {}) {
    return this.#ask(conversationId, "regenerate", { message_id: messageId }, options);
  }

  /**
   * Go on with an answer that was cut. Its text so far comes first. The whole is shown in place of the old answer,
   * which stays beside it.
   * @param {string} conversationId @param {import("./client.js").AgainOptions} [options]
   *   `messageId`: the answer; left out: the last one.
   * @returns {Answer}
   */
  goOn(conversationId, { messageId, ...options } = {}) {
    return this.#ask(conversationId, "continue", { message_id: messageId }, options);
  }

  /**
   * Send the results of an answer's tool calls, and read the answer that they lead to. Each is stored once.
   * @param {string} conversationId @param {import("./client.js").ToolResult[]} results
   * @param {import("./client.js").AskOptions} [options]
   * @returns {Answer}
   */
  sendResults(conversationId, results, options = {}) {
    return this.#ask(conversationId, "tool_results", { results }, options);
  }

  /**
   * Read the answer that is being written in a conversation, from its first event, or from the one after `after` (an
   * answer's `lastEventId`; `text`, `reasoning` and `toolCalls` are what was said before it). If there is none, it ends
   * at once and its `done` is null.
   * @param {string} conversationId @param {import("./client.js").AttachFrom} [from]
   *   `generation`: the one from `conversations.get`, which saves a request.
   * @param {import("./client.js").AskOptions} [options] for the answers to the results of its tool calls
   * @returns {Answer}
   */
  attach(conversationId, from = {}, options = {}) {
    return this.#read(new Answer(conversationId, { ...from, question: null }), options);
  }

  /**
   * Follow a conversation: get the answer that is running now, and each one that begins elsewhere, in another tab or on
   * another device. It leaves out those that this client sends, regenerates or attaches to.
   * @param {string} conversationId
   * @param {import("./client.js").FollowFrom} [from]
   *   `conversation`: the result of `conversations.get`; answers that began after it are included. `onChange`: called
   *   with the conversation when it may have changed otherwise: another version is shown, a message was taken back or
   *   waits, its title or settings are others.
   * @returns {Following}
   */
  follow(conversationId, { conversation = null, onChange } = {}) {
    const following = new Following(conversationId, conversation, onChange);
    follow(following, this.#link);
    return following;
  }

  /**
   * Stop the running answer. Its text so far is kept. The next message that waits has its turn then.
   * @param {string} conversationId
   * @param {{queue?: "clear"}} [options] `queue`: "clear" also takes back the messages that wait
   * @returns {Promise<{generation_id: string | null, stopped: boolean}>}
   */
  stop(conversationId, { queue } = {}) {
    return this.#link.requests.json("POST", conversationPath({ conversationId }, "/stop"), queue ? { queue } : null);
  }

  /** Stop reading everything. Answers go on at the server. */
  close() {
    this.#link.close();
  }

  #ask(conversationId, kind, fields, options) {
    const { idempotencyKey: key = newKey() } = options;
    const body = { ...fields, ...Object.fromEntries(SENT.map((name) => [name, options[name]])) };
    return this.#read(new Answer(conversationId, { question: { kind, body, key } }), options);
  }

  /** Read an answer. The answers to its tool calls' results get the same options, except what holds for one alone. */
  #read(answer, options) {
    const { idempotencyKey: _, tool_choice: __, when_running, ...lasting } = options;
    if (when_running !== "queue") lasting.when_running = when_running; // results don't wait
    const send = (/** @type {any[]} */ results) => this.sendResults(answer.conversationId, results, lasting);
    answer.next = runTools(answer, options.onToolCalls, send);
    drive(answer, this.#link);
    return answer;
  }
}
