/**
 * Wait for an answer's first event, or its end. Rejects if it is refused.
 *
 * @param {import("../client.js").Answer} answer
 */
export async function begun(answer) {
  for await (const _ of answer) return;
}

/**
 * A stream of an answer's chunks. Cancelling it leaves the answer, which is written to its end.
 *
 * @param {import("../client.js").Answer} answer @param {import("./chunks.js").Chunks} chunks
 */
export function streamOf(answer, chunks) {
  const reading = read(answer, chunks);
  const pull = async (/** @type {ReadableStreamDefaultController} */ controller) => {
    const { value, done } = await reading.next();
    if (done) controller.close();
    else controller.enqueue(value);
  };
  // Nothing is read in advance: an error would make it vanish.
  return new ReadableStream({ pull, cancel: () => answer.leave() }, { highWaterMark: 0 });
}

async function* read(answer, chunks) {
  for await (const event of answer) yield* chunks.of(event);
  chunks.end();
}

/** A stream of chunks that are known. @param {Iterable<any>} chunks */
export function streamOfAll(chunks) {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
}
