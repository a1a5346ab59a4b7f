import { failed } from "../client/errors.js";
import { idOfAnswer } from "./ids.js";
import { parsed } from "./messages.js";

const REASONS = { content_filter: "content-filter", tool_calls: "tool-calls", stopped: "other", interrupted: "other" };

/** The chunks that make a stored message anew. @param {any} message */
export function* chunksOf({ id, metadata, parts }) {
  yield { type: "start", messageId: id, messageMetadata: metadata };
  yield* stepsOf(parts);
  yield finishOf(metadata.finishReason);
}

function* stepsOf(parts) {
  let count = 0;
  for (const part of parts) {
    const id = `stored-${count++}`;
    if (part.type === "step-start") {
      if (count > 1) yield { type: "finish-step" };
      yield { type: "start-step" };
    } else if (part.toolCallId) yield* callOf(part);
    else {
      yield { type: `${part.type}-start`, id };
      yield { type: `${part.type}-delta`, id, delta: part.text };
      yield { type: `${part.type}-end`, id };
    }
  }
  yield { type: "finish-step" };
}

function* callOf({ type, toolCallId, state, input, rawInput, output, errorText }) {
  const call = { toolCallId, toolName: type.slice("tool-".length) };
  if (state === "input-streaming") {
    yield { type: "tool-input-start", ...call };
    yield { type: "tool-input-delta", toolCallId, inputTextDelta: rawInput };
  } else if (state === "output-error") yield { type: "tool-input-error", ...call, input: rawInput, errorText };
  else yield { type: "tool-input-available", ...call, input };
  if (state === "output-available") yield { type: "tool-output-available", toolCallId, output };
}

function finishOf(reason, messageMetadata) {
  return { type: "finish", finishReason: REASONS[reason] ?? reason, ...(messageMetadata && { messageMetadata }) };
}

/** Makes chunks of an answer's events. */
export class Chunks {
  #from;
  #text = "";
  #reasoning = "";
  #calls = new Map(); // by index
  #open = null; // the part that is being written: its type and its id
  #count = 0;
  #error = null;

  /**
   * @param {{messageId?: string, isNextStep?: boolean, steps?: any[], messageIds?: string[]}} from
   *   `messageId`: the UI message's; left out: it is named after its question. `isNextStep`: it goes on with the UI
   *   message. `steps`: the parts of the steps before it, if they are to be made anew, and `messageIds` their messages.
   */
  constructor({ messageId, isNextStep = false, steps = [], messageIds = [] }) {
    this.#from = { messageId, isNextStep, steps, messageIds };
  }

  /** @param {any} event */
  *of(event) {
    if (event.type === "start") yield* this.#start(event);
    else if (event.type === "token") yield* this.#say("text", event.token);
    else if (event.type === "reasoning") yield* this.#say("reasoning", event.reasoning);
    else if (event.type === "tool_call") yield* this.#call(event.tool_call);
    else if (event.type === "reset") yield* this.#reset(event);
    else if (event.type === "error") this.#error = failed(event);
    else if (event.type === "done") yield* this.#done(event);
    else yield { type: `data-${event.type}`, data: event, transient: true };
  }

  /** Throw why the answer failed, if it did, when all that it said has been given. */
  end() {
    if (this.#error) throw this.#error;
  }

  *#start({ generation_id: generationId, user_message_id: userMessageId }) {
    const { messageId = idOfAnswer(userMessageId), isNextStep, steps } = this.#from;
    yield { type: "start", ...(!isNextStep && { messageId }), messageMetadata: { generationId, userMessageId } };
    if (steps.length) yield* stepsOf(steps);
    yield { type: "start-step" };
  }

  *#say(type, delta) {
    if (delta === "") return;
    if (type === "text") this.#text += delta;
    else this.#reasoning += delta;
    if (this.#open?.type !== type) {
      yield* this.#close();
      this.#open = { type, id: `${type}-${this.#count++}` };
      yield { type: `${type}-start`, id: this.#open.id };
    }
    yield { type: `${type}-delta`, id: this.#open.id, delta };
  }

  *#close() {
    if (this.#open) yield { type: `${this.#open.type}-end`, id: this.#open.id };
    this.#open = null;
  }

  *#call({ index, id, name, arguments: more = "" }) {
    yield* this.#close();
    const call = this.#calls.get(index) ?? { id: "", name: "", text: "", given: 0 };
    this.#calls.set(index, call);
    const hasBegun = call.id && call.name;
    call.id ||= id ?? "";
    call.name ||= name ?? "";
    call.text += more;
    if (!call.id || !call.name) return;
    if (!hasBegun) yield { type: "tool-input-start", toolCallId: call.id, toolName: call.name };
    const inputTextDelta = call.text.slice(call.given);
    call.given = call.text.length;
    if (inputTextDelta) yield { type: "tool-input-delta", toolCallId: call.id, inputTextDelta };
  }

  /** What was said can't be taken back. What doesn't go on with it comes after a part `data-reset`. */
  *#reset({ content, reasoning, tool_calls }) {
    const thought = reasoning ?? "";
    const calls = tool_calls ?? [];
    const isKept = ([index, { id, text }]) => calls[index]?.id === id && calls[index].arguments.startsWith(text);
    const isSaid = content.startsWith(this.#text) && thought.startsWith(this.#reasoning);
    if (!isSaid || ![...this.#calls].every(isKept)) {
      yield* this.#close();
      yield { type: "finish-step" };
      yield { type: "data-reset", data: null };
      yield { type: "start-step" };
      this.#text = this.#reasoning = "";
      this.#calls.clear();
    }
    yield* this.#say("reasoning", thought.slice(this.#reasoning.length));
    yield* this.#say("text", content.slice(this.#text.length));
    for (const [index, call] of calls.entries()) {
      const known = this.#calls.get(index)?.text.length ?? 0;
      yield* this.#call({ ...call, index, arguments: call.arguments.slice(known) });
    }
  }

  *#done({ message_id, finish_reason, usage }) {
    yield* this.#close();
    if (finish_reason === "tool_calls") for (const call of this.#calls.values()) yield complete(call);
    yield { type: "finish-step" };
    const messageIds = [...this.#from.messageIds, ...(message_id ? [message_id] : [])];
    yield finishOf(finish_reason, { finishReason: finish_reason, usage, messageIds });
  }
}

/** A call of an answer that waits for results. One of an answer that was cut stays incomplete. */
function complete({ id: toolCallId, name: toolName, text }) {
  const { input, error: errorText } = parsed(text);
  if (errorText) return { type: "tool-input-error", toolCallId, toolName, input: text, errorText };
  return { type: "tool-input-available", toolCallId, toolName, input };
}
