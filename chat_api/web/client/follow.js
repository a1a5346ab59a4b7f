import { conversationPath, query } from "./address.js";
import { Answer } from "./answer.js";
import { drive } from "./drive.js";
import { isTransient } from "./errors.js";
import { Pause } from "./pause.js";
import { FIRST_PAUSE_MS, HIDDEN_POLL_MS, POLL_MS } from "./times.js";

/** Give `following` the answers that begin in its conversation, until it is left. Never rejects. */
export async function follow(following, link) {
  const unlist = link.list(following);
  const pause = new Pause(link, following.signal);
  const calls = { look: () => look(following, link, pause), give };
  while (!following.ended) {
    try {
      if (link.transport.used === "ws") {
        const socket = await link.transport.socket();
        await socket.follow(following, calls);
      } else {
        await calls.look();
        await link.wakes.sleep(globalThis.document?.hidden ? HIDDEN_POLL_MS : POLL_MS, following.signal);
      }
    } catch (error) {
      if (!isTransient(error, true)) following.fail(error);
      else if (!following.ended) await pause.wait(error.retryAfter);
    }
  }
  pause.restored();
  unlist();
}

/** Look for an answer that began elsewhere, and may have ended, and for changes. Most looks read little. */
async function look(following, link, pause) {
  const { conversationId } = following;
  const top = await link.requests.json("GET", conversationPath(following, query({ limit: 1 })));
  pause.restored();
  pause.reset();
  if (!following.isBehind(top, link.reading(conversationId)[0])) return;
  const conversation = await link.requests.json("GET", conversationPath(following));
  if (following.ended) return;
  // While an answer is read here, no other one can begin. Its end will show at the next look.
  if (link.reading(conversationId).length) return following.tell(conversation);
  const { generation } = conversation;
  if (generation && following.hasRead(generation.id)) {
    // It has ended since. If a failover lost its end, the service has to end it first.
    await link.wakes.sleep(FIRST_PAUSE_MS, following.signal);
    return look(following, link, pause);
  }
  const message = following.news(conversation);
  if (generation) {
    const answer = new Answer(conversationId, { generation });
    following.begins(answer, conversation);
    give([following], answer, link);
  } else if (message) following.push(endedAnswer(message));
  else following.tell(conversation);
}

/** An answer that had ended before it was seen: all that was said as one `reset`, then `done`. */
function endedAnswer({ id: message_id, conversation_id, content, reasoning, tool_calls, ...message }) {
  const answer = new Answer(conversation_id);
  const common = { generation_id: null, conversation_id };
  answer.take({ ...common, type: "reset", seq: 0, reset: true, content, reasoning, tool_calls });
  const { finish_reason, token_count, inference_time_ms, usage } = message;
  const end = { message_id, finish_reason, token_count, inference_time_ms, usage };
  answer.take({ ...common, type: "done", seq: 1, done: true, ...end });
  return answer;
}

/** Hand an answer to all who follow, and start reading it. */
function give(followings, answer, link) {
  for (const following of followings) following.push(answer);
  drive(answer, link);
}
