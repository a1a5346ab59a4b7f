// An answer on the page: the model's thinking, its text as Markdown, its tool calls, and how it ended.

import { h, iconButton } from "../ui/dom.js";
import { CallsView } from "./calls.js";
import { ending } from "./endings.js";
import { renderText } from "./markdown.js";
import { MessageView } from "./message.js";
import { doing, madeBy, notSent } from "./particulars.js";
import { StreamingText } from "./streaming.js";
import { ThinkingView } from "./thinking.js";

const WORDS = { kind: "answer", speaker: "The answer", name: "the answer" };
const CUT = new Set(["length", "stopped", "interrupted"]); // reasons why an answer can be continued

export class AnswerView extends MessageView {
  #leftOut;
  #status;
  #thinking;
  #calls;
  #copy = iconButton("copy", "Copy the answer", () => {}, { "data-copy": "message", hidden: true });
  #meta = h("span", { class: "meta" });
  #again;
  #goOn;
  #reason = null; // why it ended
  #explained = ""; // the ending that was told
  #text = "";
  #isHeld = false; // the words of the answer that goes on are shown until they come again
  #stream = null;
  #drawn = true;

  /** @param {import("./messages.js").Actions} actions */
  constructor(actions) {
    const body = h("div", { class: "prose" });
    const leftOut = h("p", { class: "left-out", hidden: true });
    const status = h("p", { class: "status", dir: "auto", hidden: true });
    const thinking = new ThinkingView();
    const calls = new CallsView();
    super(WORDS, actions, leftOut, thinking.element, status, body, calls.element);
    this.#leftOut = leftOut;
    this.#status = status;
    this.#thinking = thinking;
    this.#calls = calls;
    this.body = body;
    this.#again = () => actions.regenerate(this);
    this.#goOn = () => actions.goOn(this);
    this.equip(this.#copy, this.tool("retry", "Regenerate the answer", this.#again));
    this.foot.append(this.#meta);
  }

  get text() {
    return this.#stream?.text ?? this.#text;
  }

  /** The text as it is shown, without Markdown's marks. */
  get shown() {
    return this.body.innerText;
  }

  /** What the answer says, as a `reset` event has it. */
  get words() {
    return { content: this.text, reasoning: this.#thinking.text, tool_calls: null };
  }

  /** Whether its tool calls have results: what comes next is another answer, and doesn't replace this one. */
  get hasResults() {
    return this.#calls.hasResults;
  }

  /** Take over a stored message. `draw` draws it later, because drawing hundreds at once would take too long. */
  fill(message) {
    this.place(message);
    this.#meta.textContent = madeBy(message);
    this.#thinking.set(message.reasoning ?? "");
    this.#calls.set(message.tool_calls ?? [], message.results);
    if (message.content !== this.text) {
      this.#stream = null;
      this.#text = message.content;
      this.#drawn = false;
      this.guess(message.content);
    }
    this.#copy.hidden = !this.text;
    this.#explain(message.finish_reason, message.isPast);
  }

  draw() {
    if (this.#drawn) return;
    this.#drawn = true;
    this.body.replaceChildren(renderText(this.#text));
  }

  /** Show that the answer is coming. @param {() => void} rendered called whenever something was drawn */
  begin(rendered) {
    this.element.classList.add("running", "waiting");
    this.element.setAttribute("aria-busy", "true");
    this.body.replaceChildren();
    this.#stream = new StreamingText(this.body, rendered);
    this.#drawn = true;
  }

  /** Show the words of the answer that goes on, until they come again. @param {AnswerView} old */
  hold(old) {
    this.reset(old.words);
    this.#isHeld = true;
  }

  append(token) {
    this.#said();
    this.#thinking.pause();
    this.#stream.append(token);
  }

  /** @param {string} piece of the model's thinking @param {boolean} isTimed see ThinkingView */
  think(piece, isTimed) {
    this.#release();
    this.#thinking.append(piece, isTimed);
    if (!this.#thinking.element.hidden) this.#said();
  }

  /** @param {any} piece of a tool call */
  call(piece) {
    this.#said();
    this.#thinking.pause();
    this.#calls.add(piece);
  }

  /** Show these words instead. */
  reset({ content, reasoning, tool_calls }) {
    this.#isHeld = false;
    this.#thinking.set(reasoning ?? "");
    this.#calls.set(tool_calls ?? []);
    this.#stream.reset(content);
    this.#status.hidden = true;
    this.element.classList.toggle("waiting", !content && this.#thinking.element.hidden && this.#calls.isEmpty);
  }

  /** Show what the model server does meanwhile, such as "searching". */
  tell(status) {
    const text = doing(status);
    if (text) this.#status.textContent = text;
    if (text) this.#status.hidden = false;
  }

  /** Show how many earlier messages the model doesn't know. */
  leaveOut(count) {
    this.#leftOut.hidden = count === 0;
    this.#leftOut.textContent = notSent(count);
  }

  /** No more text will come. @param {any} [done] the last event, if it came */
  finish(done) {
    this.element.classList.remove("running", "waiting");
    this.element.removeAttribute("aria-busy");
    this.#status.hidden = true;
    this.#thinking.pause();
    this.#stream?.finish();
    this.#copy.hidden = !this.text;
    if (!done) return;
    this.id = done.message_id;
    this.#meta.textContent = madeBy(done);
    this.#explain(done.finish_reason);
  }

  /** Show what went wrong, with what can be done, or a button to try again. @param {string} text @param {boolean} [bad] */
  fail(text, bad = true, offers = [{ text: "Try again", act: this.#again }, ...this.#rest]) {
    this.notify(text, { bad, offers });
  }

  get ending() {
    return this.element.querySelector(".notice:not([hidden]) span")?.textContent ?? "";
  }

  #release() {
    if (this.#isHeld) this.reset({ content: "", reasoning: null, tool_calls: null });
  }

  #said() {
    this.#release();
    this.element.classList.remove("waiting");
    if (!this.#status.hidden) this.#status.hidden = true;
  }

  #explain(reason, isPast = false) {
    const isOnlyThought = !this.text && this.#calls.isEmpty && this.#thinking.text !== "";
    const end = ending(reason, { isOnlyThought, isPast });
    const explained = `${this.id} ${end?.text}`;
    if (reason === "tool_calls" && !this.#calls.isOpen) this.hush();
    else if (end && explained !== this.#explained) {
      this.#reason = reason;
      if (end.bad) this.fail(end.text);
      else this.notify(end.text, { offers: this.#rest });
    }
    this.#explained = explained; // a failure that was told since has more to say
  }

  /** The offer to go on with an answer that was cut. */
  get #rest() {
    const goOn = { text: "Continue", act: this.#goOn, picture: "onward", isLasting: true };
    return this.id && CUT.has(this.#reason) ? [goOn] : [];
  }
}
