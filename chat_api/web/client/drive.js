import { conversationPath } from "./address.js";
import { isTransient } from "./errors.js";
import { Pause } from "./pause.js";
import { readStream } from "./stream.js";

const TRIES_BEFORE_START = 3; // for a question that the server can't take right now

/** Read an answer to its end, over as many connections as it takes. Never rejects: the answer carries the error. */
export async function drive(answer, link) {
  const unlist = link.list(answer);
  const pause = new Pause(link, answer.signal);
  try {
    for (let tries = 1; !answer.ended; tries++) {
      let retryAfter = null;
      try {
        if (answer.lastEventId === null && !answer.question) await lookForRunning(answer, link);
        if (!answer.ended) await (link.transport.used === "ws" ? readSocket : readStream)(answer, link, pause);
      } catch (error) {
        const hasBegun = answer.lastEventId !== null;
        const isTooMuch = !hasBegun && error.code !== "network_error" && tries >= TRIES_BEFORE_START;
        if (isTooMuch || !isTransient(error, hasBegun)) throw error;
        retryAfter = error.retryAfter;
      }
      if (!answer.ended) await pause.wait(retryAfter);
    }
  } catch (error) {
    answer.fail(error);
  } finally {
    pause.restored();
    unlist();
  }
}

/** Find the running generation to attach to. Its `start` event is made from what the server says about it. */
async function lookForRunning(answer, link) {
  let { generation } = answer;
  if (generation === undefined) ({ generation } = await link.requests.json("GET", conversationPath(answer)));
  if (generation === null) return answer.miss();
  const { id: generation_id, conversation_id, user_message_id } = generation;
  answer.take({ generation_id, conversation_id, user_message_id, type: "start", seq: 0 });
}

/** Read over the WebSocket, or over a stream if the socket's subscription is past the answer's place. */
async function readSocket(answer, link, pause) {
  const socket = await link.transport.socket();
  pause.restored();
  if (!(await socket.read(answer, () => pause.reset()))) await readStream(answer, link, pause);
}
