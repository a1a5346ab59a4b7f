import { Answer } from "./answer.js";
import { Following } from "./following.js";
import { Requests } from "./requests.js";
import { Status } from "./status.js";
import { Transport } from "./transport.js";
import { Wakes } from "./wakes.js";

/** The connection to the service, shared by all answers and followings of a client. It keeps the list of them. */
export class Link {
  #feeds = new Set();
  #closing = new AbortController();
  #WebSocket;

  /**
   * @param {URL | string} baseUrl where `api/` is
   * @param {import("./token.js").Token} token
   * @param {(type: string, detail: string) => void} emit
   * @param {any} [WebSocket] the class to use in place of the global one
   */
  constructor(baseUrl, token, emit, WebSocket) {
    this.#WebSocket = WebSocket;
    const base = new URL(baseUrl, globalThis.document?.baseURI);
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    const { signal } = this.#closing;
    this.status = new Status((value) => emit("status", value), signal);
    this.wakes = new Wakes(signal);
    this.requests = new Requests(base, token, this.status);
    this.transport = new Transport(base, this, (used) => emit("transport", used));
  }

  /** The class of WebSockets; undefined where there is none, as in Node before 22. */
  get WebSocket() {
    return this.#WebSocket ?? globalThis.WebSocket;
  }

  /** Remember an Answer or a Following while it is read. Returns a function that forgets it. */
  list(feed) {
    const { conversationId } = feed;
    this.#feeds.add(feed);
    feed.done?.then(
      (done) => this.#in(conversationId, Following).forEach((following) => following.knows(done)),
      () => {},
    );
    return () => {
      this.#feeds.delete(feed);
      this.transport.flush(conversationId);
    };
  }

  /** The answers of a conversation that this client is reading. */
  reading(conversationId) {
    return this.#in(conversationId, Answer).filter(({ ended }) => !ended);
  }

  #in(conversationId, kind) {
    return [...this.#feeds].filter((feed) => feed instanceof kind && feed.conversationId === conversationId);
  }

  close() {
    this.#closing.abort();
    for (const feed of [...this.#feeds]) feed.leave();
    this.transport.end();
  }
}
