/** What was said so far in an answer: its text, its thinking, and its tool calls. */
export class Words {
  #calls = new Map(); // by index

  /** @param {{text?: string, reasoning?: string, toolCalls?: any[]}} [said] */
  constructor({ text = "", reasoning = "", toolCalls = [] } = {}) {
    this.text = text;
    this.reasoning = reasoning;
    toolCalls.forEach((call, index) => this.#calls.set(index, { ...call }));
  }

  /** Each call so far: while the answer is written, its `arguments` may be incomplete. */
  get toolCalls() {
    return [...this.#calls.values()].map((call) => ({ ...call }));
  }

  /** Add what an event says, if anything. */
  take(event) {
    if (event.type === "token") this.text += event.token;
    else if (event.type === "reasoning") this.reasoning += event.reasoning;
    else if (event.type === "tool_call") this.#piece(event.tool_call);
  }

  #piece({ index, id, name, arguments: more }) {
    const call = this.#calls.get(index) ?? { id: "", name: "", arguments: "" };
    call.id ||= id ?? "";
    call.name ||= name ?? "";
    call.arguments += more ?? "";
    this.#calls.set(index, call);
  }
}
