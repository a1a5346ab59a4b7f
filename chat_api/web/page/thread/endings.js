// Why an answer ended as it did, in words for its reader.

const ENDINGS = {
  length: "The answer was cut off at its maximum length.",
  content_filter: "The model server's content filter cut this answer off.",
  tool_calls: "The answer waits for the results of its tool calls.",
  stopped: "You stopped this answer.",
  interrupted: "The answer was interrupted.",
  error: "The answer failed.",
};
const FAILURES = new Set(["interrupted", "error"]);

/**
 * @param {string | null} reason the answer's finish reason
 * @param {{isOnlyThought?: boolean, isPast?: boolean}} [answer] `isOnlyThought`: the model thought, and said nothing
 *   else; `isPast`: the conversation went on after it
 * @returns {{text: string, bad: boolean} | null} null: the answer is complete
 */
export function ending(reason, { isOnlyThought = false, isPast = false } = {}) {
  if (isOnlyThought && reason === "length") {
    return { text: "The answer reached its maximum length before its text began.", bad: true };
  }
  if (isOnlyThought && reason === "stop") return { text: "The model only thought, and said nothing.", bad: false };
  if (isPast && reason === "tool_calls") return { text: "Its tool calls were not run.", bad: false };
  return reason in ENDINGS ? { text: ENDINGS[reason], bad: FAILURES.has(reason) } : null;
}

/** Why a conversation's last question has no answer; null if it has one, or is being answered. */
export function lack({ messages, generation, unanswered }) {
  if (generation || !["user", "tool"].includes(messages.at(-1)?.role)) return null;
  if (unanswered?.detail) return { text: unanswered.detail, bad: true };
  return ending(unanswered?.finish_reason ?? null) ?? { text: "There is no answer to this yet.", bad: true };
}
