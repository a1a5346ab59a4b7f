// The AI SDK names messages itself. An answer's name here is made of its question's id, which is known from the start.

const ANSWER = ":answer";

/** The id of the UI message that answers a question. @param {string} userMessageId */
export function idOfAnswer(userMessageId) {
  return `${userMessageId}${ANSWER}`;
}

/**
 * The stored message of the last UI message, which is a question; undefined if it isn't stored.
 *
 * @param {any[]} stored @param {any[]} messages
 */
export function questionIn(stored, messages) {
  const { id } = messages.at(-1);
  const before = messages.at(-2);
  const parent = before ? (before.metadata?.messageIds?.at(-1) ?? before.metadata?.userMessageId ?? before.id) : null;
  const isIt = (/** @type {any} */ one) => one.role === "user" && one.parent_id === parent;
  return stored.find((one) => one.id === id) ?? stored.find(isIt);
}

/**
 * The stored answer that is to be done again; undefined if its question has none; null if there is no such message.
 *
 * @param {any[]} stored @param {string} messageId of an answer's or a question's UI message
 * @param {() => any} last finds the question that comes last
 */
export function answerAfter(stored, messageId, last) {
  const own = stored.findIndex(({ id, role }) => id === messageId && role === "assistant");
  if (own >= 0) return stored[own];
  const isAnswers = messageId.endsWith(ANSWER);
  const asked = isAnswers ? messageId.slice(0, -ANSWER.length) : last()?.id;
  const at = stored.findIndex(({ id }) => id === asked);
  return at < 0 ? null : stored.slice(at + 1).find(({ role }) => role !== "tool");
}
