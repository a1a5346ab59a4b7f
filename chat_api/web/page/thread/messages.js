// The open conversation's messages in order, or what is shown in their place.

import { copyText } from "../ui/copy.js";
import { toast } from "../ui/toast.js";
import { AnswerView } from "./answer.js";
import { withResults } from "./calls.js";
import { apology, greeting, loading } from "./placeholders.js";
import { QuestionView } from "./question.js";

const DRAWN_AT_ONCE = 12; // messages: more than fit on a screen
const SLICE_MS = 8;

/**
 * What a reader does with the messages. `orphan` gets the unsent edit of a question that isn't shown any more.
 *
 * @typedef {{regenerate: (view: AnswerView) => void, goOn: (view: AnswerView) => void,
 *   edit: (view: QuestionView, text: string) => boolean, switchTo: (id: string, step: number) => void,
 *   remove: (view: AnswerView | QuestionView) => void, orphan: (text: string) => void,
 *   suggest: (text: string) => void}} Actions
 */

export class Messages {
  #place;
  #follow;
  #views = [];
  #drawing = 0;
  #isLocked = false;

  /**
   * @param {HTMLElement} place
   * @param {import("./follow.js").Follow} follow
   * @param {Actions} actions
   */
  constructor(place, follow, actions) {
    this.#place = place;
    this.#follow = follow;
    this.actions = actions;
    place.addEventListener("click", (event) => this.#copy(event));
  }

  /** Show a greeting with suggestions: there are no messages yet. */
  welcome() {
    this.#replace(greeting(this.actions.suggest));
  }

  /** Show that the conversation is loading. */
  wait() {
    this.#replace(loading());
  }

  /** Show why there are no messages. @param {string} text @param {string} action @param {() => void} act */
  apologise(text, action, act) {
    this.#replace(apology(text, action, act));
  }

  /** Show these messages. Those that are shown already stay as they are. */
  show(messages) {
    if (!this.#views.length) this.#replace();
    const shown = withResults(messages);
    shown.forEach((message, place) => {
      const view = this.#views[place];
      const isAnswer = message.role !== "user";
      if (view && (view.id === message.id || view.id === null) && view instanceof AnswerView === isAnswer) view.fill(message);
      else {
        this.#cut(place);
        this.#add(isAnswer ? new AnswerView(this.actions) : new QuestionView(message, this.actions));
        if (isAnswer) this.#views[place].fill(message);
      }
    });
    this.#cut(shown.length);
    this.#draw();
  }

  /** @param {string} content @returns {QuestionView} */
  ask(content) {
    if (!this.#views.length) this.#replace();
    return this.#add(new QuestionView({ content }, this.actions));
  }

  /** Show an answer that is coming, in place of the last one if there is one. @returns {AnswerView} */
  begin() {
    this.dropAnswer();
    const answer = this.#add(new AnswerView(this.actions));
    answer.begin(() => {});
    return answer;
  }

  dropAnswer() {
    if (this.#answer) this.#cut(this.#views.length - 1);
  }

  /**
   * Show what went wrong with an answer, where it is, or would be.
   *
   * @param {string} text @param {{bad?: boolean, about?: string, offers?: any}} [options] `about`: its id; left out: the
   *   last one; `offers`: what the reader can do about it; left out: try again
   */
  fail(text, { bad = true, about, offers } = {}) {
    const named = about && this.find(about);
    const answer = named instanceof AnswerView ? named : (this.#answer ?? this.#add(new AnswerView(this.actions)));
    answer.fail(text, bad, offers);
  }

  /** The answer to the last question, or to the last results of tool calls; null if there is none. */
  get #answer() {
    const last = this.#views.at(-1);
    return last instanceof AnswerView && !last.hasResults ? last : null;
  }

  get isEmpty() {
    return this.#views.length === 0;
  }

  /** The last answer with a text, which a shortcut copies. */
  get lastAnswer() {
    return this.#views.findLast((view) => view instanceof AnswerView && view.text);
  }

  /** The view of a message; undefined: it isn't shown. */
  find(id) {
    return this.#views.find((view) => view.id === id);
  }

  /** How many messages come after this one. */
  below(view) {
    return this.#views.length - 1 - this.#views.indexOf(view);
  }

  /** Remove this one and what comes after it. */
  cutFrom(view) {
    this.#cut(this.#views.indexOf(view));
  }

  /** @param {boolean} isLocked whether nothing can be changed now, because an answer is being written */
  lock(isLocked) {
    if (isLocked === this.#isLocked) return;
    this.#isLocked = isLocked;
    for (const view of this.#views) view.lock(isLocked);
  }

  #add(view) {
    view.lock(this.#isLocked);
    this.#views.push(view);
    this.#place.append(view.element);
    return view;
  }

  #cut(length) {
    for (const view of this.#views.splice(length)) {
      view.element.remove();
      const unsent = view instanceof QuestionView && view.abandon();
      if (unsent) this.actions.orphan(unsent);
    }
  }

  #replace(...nodes) {
    clearTimeout(this.#drawing);
    this.#views = [];
    this.#place.replaceChildren(...nodes);
  }

  /** Draw the newest ones now and the others when there is time, from the end, because the reader scrolls up. */
  #draw() {
    clearTimeout(this.#drawing);
    const waiting = this.#views.filter((view) => view instanceof AnswerView);
    waiting.splice(-DRAWN_AT_ONCE).forEach((view) => view.draw());
    const slice = () => {
      const until = performance.now() + SLICE_MS;
      while (waiting.length && performance.now() < until) waiting.pop().draw();
      if (waiting.length) this.#drawing = setTimeout(slice, SLICE_MS);
    };
    if (waiting.length) this.#drawing = setTimeout(slice, SLICE_MS);
  }

  async #copy(event) {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const view = this.#views.find(({ element }) => element.contains(button));
    const text = button.dataset.copy === "code" ? button.closest(".code").querySelector("pre").textContent : view.text;
    try {
      await copyText(text);
      button.classList.add("copied");
      setTimeout(() => button.classList.remove("copied"), 1500);
      toast("Copied.", { seconds: 1.5 });
    } catch (error) {
      toast(`Copying failed: ${error.message}`);
    }
  }
}
