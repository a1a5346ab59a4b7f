// Where a turn stands among the stored messages.

/**
 * The messages to show.
 *
 * @param {any[]} stored @param {import("./turn.js").Turn[]} turns @param {Map<string, string>} keys by message id
 */
export function placed(stored, turns, keys) {
  let messages = stored.map((message) => shownAs(message, keys));
  for (const turn of turns) messages = withTurn(messages, turn);
  return messages;
}

const items = new WeakMap(); // what a stored message is shown as, so that it stays the same object

function shownAs(message, keys) {
  const key = keys.get(message.id) ?? message.id;
  const known = items.get(message);
  if (known?.key === key) return known;
  const { token_count: _, inference_time_ms: __, conversation_id: ___, tool_calls, ...rest } = message;
  const item = { ...rest, tool_calls: tool_calls ?? [], key, state: "stored", error: null };
  items.set(message, item);
  return item;
}

function withTurn(messages, turn) {
  const { userMessageId, messageId } = turn;
  if (messageId !== null && messages.some(({ id }) => id === messageId)) return messages;
  const place = turn.isFailed ? messages.length : placeOf(messages, turn);
  const shown = messages.slice(0, place);
  const isStored = userMessageId !== null && shown.some(({ id }) => id === userMessageId);
  if (turn.content !== null && !isStored) shown.push(question(shown, turn));
  if (turn.isRunning || saidSomething(turn)) shown.push(answer(shown, turn));
  return shown;
}

/** How many of the messages stay before a turn's own. */
function placeOf(messages, { content, after, replaces, isResults, userMessageId }) {
  const all = messages.length;
  const find = (/** @type {any} */ wanted) => messages.findIndex(({ id }) => id === wanted);
  if (replaces) return find(replaces.id) < 0 ? all : find(replaces.id);
  if (after !== undefined) return after === null ? 0 : find(after) + 1 || all;
  const asked = userMessageId === null ? -1 : find(userMessageId);
  if (content !== null) return asked + 1 || all;
  // It began elsewhere. An answer that it replaces stays stored until it has ended; results stay with their calls.
  if (isResults || asked < 0 || messages[all - 1].role === "tool") return all;
  const result = messages.findLastIndex(({ role }) => role === "tool");
  return Math.max(asked, result) + 1;
}

const NOTHING = { tool_call_id: null, siblings: null, created_at: null, model_tag: null, usage: null };

function question(before, { key, content, userMessageId, error }) {
  const state = error ? "failed" : userMessageId === null ? "sending" : "stored";
  const said = { role: "user", content, reasoning: null, tool_calls: [], finish_reason: null };
  const place = { id: userMessageId, parent_id: before.at(-1)?.id ?? null, key: `${key}:question` };
  return { ...NOTHING, ...said, ...place, state, error };
}

function answer(before, turn) {
  const { key, messageId, finishReason, usage } = turn;
  return {
    ...NOTHING,
    ...words(turn),
    role: "assistant",
    id: messageId,
    finish_reason: finishReason,
    usage,
    parent_id: before.at(-1)?.id ?? null,
    key: `${key}:answer`,
    state: turn.isRunning ? "writing" : "stored",
    error: null,
  };
}

/** What was said so far; until the rest of an answer that is gone on with begins, what was said of it before. */
function words({ answer, replaces, finishReason }) {
  const { text = "", reasoning = "", toolCalls = [] } = answer ?? {};
  const said = { content: text, reasoning: reasoning || null, tool_calls: toolCalls };
  const isHeld = replaces?.isHeld && finishReason === null && !said.content && !said.reasoning;
  return isHeld ? { ...said, content: replaces.content, reasoning: replaces.reasoning } : said;
}

function saidSomething({ answer }) {
  return answer !== null && (answer.text !== "" || answer.reasoning !== "" || answer.toolCalls.length > 0);
}

/** Messages that haven't changed stay the same objects, so that what shows them needn't be rendered again. */
export function sameObjects(known, loaded) {
  const before = new Map(known.map((message) => [message.id, message]));
  return loaded.map((message) => {
    const old = before.get(message.id);
    return old && JSON.stringify(old) === JSON.stringify(message) ? old : message;
  });
}
