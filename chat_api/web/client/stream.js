// Server-sent events, by fetch: EventSource sends neither headers nor a body.

import { conversationPath, query } from "./address.js";
import { ChatError, broken, foreign } from "./errors.js";
import { EventParser } from "./event-parser.js";
import { DOUBTFUL_MS, SILENCE_MS } from "./times.js";

/** Read over one connection until it ends. It asks the question, or continues after the last event. */
export async function readStream(answer, link, pause) {
  const attempt = new Attempt(answer.signal, link);
  try {
    const response = await openStream(answer, link, attempt.signal);
    if (response.status === 204) return answer.miss();
    if (response.status === 202) return answer.wait((await response.json()).queued);
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) throw foreign(response);
    pause.restored();
    const reader = response.body.getReader();
    const decoder = new TextDecoder(); // keeps the bytes of a character that is split between chunks
    const parser = new EventParser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return; // reading to the end, past the last event, lets the browser reuse the connection
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
    const path = conversationPath(answer, `/stream${query({ after: answer.lastEventId })}`);
    return link.requests.fetch("GET", path, { signal });
  }
  const { kind, body, key } = answer.question;
  const headers = { "Idempotency-Key": key };
  return link.requests.fetch("POST", conversationPath(answer, `/${kind}`), { body, signal, headers });
}

function asEvent({ id, data }, conversationId) {
  const place = id.lastIndexOf(":");
  const fields = JSON.parse(data);
  // An event's first field names its type, also if only a later release knows it, as over the WebSocket.
  const [first] = Object.keys(fields);
  const type = first === "generation_id" ? "start" : first;
  return {
    ...fields,
    type,
    conversation_id: conversationId,
    generation_id: id.slice(0, place),
    seq: Number(id.slice(place + 1)),
  };
}

/** The life of one connection. It is aborted when the answer ends, after silence, and when the network changes. */
class Attempt {
  #controller = new AbortController();
  #heardAt = Date.now();
  #timer;
  #end;

  constructor(signal, link) {
    const abort = () => this.#controller.abort();
    const stop = link.wakes.on((changed) => {
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
    this.#controller.abort(); // frees the connection if the body wasn't read to its end
  }

  #watch() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#controller.abort(), SILENCE_MS);
  }
}
