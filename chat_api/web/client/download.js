import { broken } from "./errors.js";

/** A file that the service sends: an async iterable of its bytes. To save it in full, read it to its end. */
export class Download {
  #response;
  #signal;

  /** @param {Response} response @param {AbortSignal} [signal] */
  constructor(response, signal) {
    const { headers } = response;
    this.#response = response;
    this.#signal = signal;
    /** The name that the service gives it; null: a page of another origin isn't told. @type {string | null} */
    this.name = nameIn(headers.get("Content-Disposition") ?? "");
    this.type = headers.get("Content-Type") ?? "";
    /** In bytes; null: not known, because it is made while it is sent. @type {number | null} */
    this.size = headers.has("Content-Encoding") ? null : Number(headers.get("Content-Length")) || null;
  }

  /** Throws a ChatError if the connection breaks off, and the reason of an aborted signal. */
  async *[Symbol.asyncIterator]() {
    try {
      yield* bytesOf(this.#response);
    } catch (error) {
      throw this.#signal?.aborted ? this.#signal.reason : error;
    }
  }

  /** All of it. @param {(bytes: number) => void} [onProgress] called with the number of bytes so far */
  async blob(onProgress) {
    const pieces = [];
    let bytes = 0;
    for await (const piece of this) {
      pieces.push(piece);
      onProgress?.((bytes += piece.length));
    }
    return new Blob(pieces, { type: this.type });
  }
}

/** A response's bytes, as they come. Throws a ChatError if it breaks off. @param {Response} response */
export async function* bytesOf(response) {
  const reader = /** @type {ReadableStream<any>} */ (response.body).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } catch (error) {
    throw broken("the response broke off", error);
  } finally {
    reader.cancel().catch(() => {}); // it has ended, or nobody reads on
  }
}

/** The file name in a Content-Disposition (RFC 6266). */
function nameIn(disposition) {
  const extended = /filename\*=UTF-8''([^;]+)/i.exec(disposition)?.[1];
  try {
    if (extended) return decodeURIComponent(extended);
  } catch {
    // badly encoded: the plain name is there, too
  }
  return /filename="?([^";]+)"?/i.exec(disposition)?.[1] ?? null;
}
