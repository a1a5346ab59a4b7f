import { conversationPath, query } from "./address.js";
import { ChatError, broken, foreign } from "./errors.js";
import { EventParser } from "./event-parser.js";
import { DOUBTFUL_MS, SILENCE_MS } from "./times.js";

/** One connection: the question, or what comes after the last event, until the end of the stream. */
export async function readStream(answer, link, pause) {
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
    return link.requests.fetch("GET", conversationPath(answer, `/stream${query({ after: answer.lastEventId })}`), { signal });
  }
  const { kind, body, key } = answer.question;
  const headers = { "Idempotency-Key": key };
  return link.requests.fetch("POST", conversationPath(answer, `/${kind}`), { body, signal, headers });
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

/** One connection's patience: aborted when the answer ends, after silence, and when the network has changed. */
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
    this.#controller.abort(); // lets go of the connection where the body wasn't read to its end
  }

  #watch() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#controller.abort(), SILENCE_MS);
  }
}
