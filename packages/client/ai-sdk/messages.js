import { idOfAnswer } from "./ids.js";

/**
 * A conversation's messages as the AI SDK has them: tool calls, their results and what follows are steps of one
 * message. An answer that is being done again is left out, because `resume` brings the new one.
 *
 * @param {any} conversation the result of `conversations.get`
 * @returns {any[]}
 */
export function toUIMessages({ messages, generation }) {
  const shown = [];
  let question = null;
  for (const message of withoutOld(messages, generation)) {
    const last = shown.at(-1);
    if (message.role === "tool") setResult(last, message);
    else if (message.role !== "assistant") {
      question = message.id;
      shown.push({ id: message.id, role: message.role, parts: [{ type: "text", text: message.content }] });
    } else if (last?.role === "assistant") {
      last.parts.push(...partsOf(message));
      Object.assign(last.metadata, metadataOf(message), { messageIds: [...last.metadata.messageIds, message.id] });
    } else {
      const id = question === null ? message.id : idOfAnswer(question);
      const metadata = { userMessageId: question, ...metadataOf(message), messageIds: [message.id] };
      shown.push({ id, role: "assistant", metadata, parts: partsOf(message) });
    }
  }
  return shown;
}

function withoutOld(messages, generation) {
  const asked = messages.findIndex(({ id }) => id === generation?.user_message_id);
  return asked < 0 || messages.at(-1).role === "tool" ? messages : messages.slice(0, asked + 1);
}

function metadataOf({ finish_reason, usage }) {
  return { finishReason: finish_reason, usage };
}

function partsOf({ reasoning, content, tool_calls, finish_reason }) {
  const parts = [{ type: "step-start" }];
  if (reasoning) parts.push({ type: "reasoning", text: reasoning, state: "done" });
  if (content) parts.push({ type: "text", text: content, state: "done" });
  return [...parts, ...(tool_calls ?? []).map((call) => callOf(call, finish_reason === "tool_calls"))];
}

function callOf({ id, name, arguments: text }, isComplete) {
  const call = { type: `tool-${name}`, toolCallId: id };
  if (!isComplete) return { ...call, state: "input-streaming", input: undefined, rawInput: text };
  const given = parsed(text);
  if (given.error) return { ...call, state: "output-error", input: undefined, rawInput: text, errorText: given.error };
  return { ...call, state: "input-available", input: given.input };
}

/** The arguments of a call, or why they are none. @param {string} text @returns {{input?: any, error?: string}} */
export function parsed(text) {
  try {
    return { input: text === "" ? {} : JSON.parse(text) };
  } catch {
    return { error: "The arguments are no JSON." };
  }
}

function setResult(message, { tool_call_id, content }) {
  const part = message?.parts.findLast(({ toolCallId }) => toolCallId === tool_call_id);
  if (part) Object.assign(part, { state: "output-available", output: content });
}

/** The results of the calls of a message's last step. @param {any} message */
export function resultsOf({ parts }) {
  const step = parts.slice(parts.findLastIndex(({ type }) => type === "step-start") + 1);
  return step.flatMap(({ toolCallId: tool_call_id, state, output, errorText }) => {
    if (state === "output-error") return [{ tool_call_id, content: errorText }];
    if (state !== "output-available") return [];
    return [{ tool_call_id, content: typeof output === "string" ? output : JSON.stringify(output) }];
  });
}

/** A question's text. @param {any} message */
export function textOf({ parts }) {
  const unfit = parts.find(({ type }) => type !== "text");
  if (unfit) throw new TypeError(`The service takes text alone: leave out the part of type ${unfit.type}.`);
  return parts.map(({ text }) => text).join("\n");
}

/** A message's parts, without those that a `reset` has replaced. @param {any} message */
export function shownParts({ parts }) {
  return parts.slice(parts.findLastIndex(({ type }) => type === "data-reset") + 1);
}
