// Reading answers: those to this tab's questions, and those to questions from other tabs. What an event of an unknown
// kind means, only a later release knows: it is passed over.

import { toast } from "../ui/toast.js";

/**
 * Show an answer's events in its view, until it ends.
 *
 * @param {import("../../client.js").Answer} answer
 * @param {import("./answer.js").AnswerView} view
 * @param {(event: any) => void} started
 * @returns {Promise<{failure: string, error: any}>} `failure`: the model's, or "". `error`: of reading, or null.
 */
export async function readInto(answer, view, started) {
  let failure = "";
  let done;
  try {
    for await (const event of answer) {
      if (event.type === "start") started(event);
      else if (event.type === "error") failure = event.detail;
      else if (event.type === "done") done = event;
      show(event, view, answer.question !== null);
    }
  } catch (error) {
    view.finish();
    return { failure, error };
  }
  view.finish(done);
  if (failure) view.fail(failure);
  return { failure, error: null };
}

function show(event, view, isNew) {
  if (event.type === "start") view.leaveOut(event.history?.left_out ?? 0);
  else if (event.type === "token") view.append(event.token);
  else if (event.type === "reasoning") view.think(event.reasoning, isNew);
  else if (event.type === "tool_call") view.call(event.tool_call);
  else if (event.type === "reset") view.reset(event);
  else if (event.type === "status") view.tell(event.status);
}

/** Answers that other tabs and devices begin in the open conversation, and what else they change there. */
export class Others {
  #chat;
  #calls;
  #following = null;

  /**
   * @param {import("../../client.js").ChatClient} chat
   * @param {{join: (answer: import("../../client.js").Answer) => void, changed: () => void}} calls
   */
  constructor(chat, calls) {
    this.#chat = chat;
    this.#calls = calls;
  }

  /** @param {string} id @param {any} [conversation] as it was last seen: answers that began after it are included */
  async watch(id, conversation) {
    if (this.#following) return;
    const onChange = () => following === this.#following && this.#calls.changed();
    const following = (this.#following = this.#chat.follow(id, { conversation, onChange }));
    try {
      for await (const answer of following) if (following === this.#following) this.#calls.join(answer);
    } catch (error) {
      if (following !== this.#following) return;
      this.#following = null; // the next message, or the next visit, looks again
      if (error.status === 404) this.#calls.changed();
      else toast(`Answers from other tabs can't be shown: ${error.message}`);
    }
  }

  leave() {
    this.#following?.leave();
    this.#following = null;
  }
}
