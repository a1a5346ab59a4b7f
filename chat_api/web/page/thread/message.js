// A message on the page: a question as it was written, an answer as Markdown.

import { shortName } from "../reader/model-name.js";
import { h, iconButton } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { renderText } from "./markdown.js";
import { StreamingText } from "./streaming.js";

const ENDINGS = {
  length: "The answer was cut off at its maximum length.",
  stopped: "You stopped this answer.",
  interrupted: "The answer was interrupted.",
  error: "The answer failed.",
};
const CHARACTERS_A_LINE = 80;
const LINE_PX = 27;

class MessageView {
  #notice = h("div", { class: "notice", hidden: true });
  foot = h("div", { class: "message-foot" });

  /** @param {string} kind "question" or "answer" @param {string} speaker read aloud before the message */
  constructor(kind, speaker, body) {
    this.id = null;
    this.body = body;
    this.element = h(
      "article",
      { class: `message ${kind}`, "aria-label": speaker },
      h("h2", { class: "hidden", text: speaker }),
      body,
      this.#notice,
      this.foot,
    );
  }

  /** Estimate its height: the browser doesn't lay out what isn't on the screen yet. */
  guess(text) {
    const lines = text.length / CHARACTERS_A_LINE + text.split("\n").length;
    this.element.style.containIntrinsicBlockSize = `auto ${Math.round(40 + lines * LINE_PX)}px`;
  }

  /** @param {string} text @param {{bad?: boolean, action?: string, act?: () => void}} [options] */
  notify(text, { bad = false, action, act } = {}) {
    const again = () => {
      this.#notice.hidden = true;
      act?.();
    };
    this.#notice.hidden = false;
    this.#notice.classList.toggle("bad", bad);
    this.#notice.replaceChildren(
      ...(bad ? [icon("warning")] : []),
      h("span", { text }),
      ...(action ? [h("button", { type: "button", class: "secondary", icon: "retry", text: action, on: { click: again } })] : []),
    );
  }
}

export class QuestionView extends MessageView {
  /** @param {{id?: string, content: string}} message */
  constructor(message) {
    super("question", "You said", h("div", { class: "bubble", dir: "auto", text: message.content }));
    this.foot.append(iconButton("copy", "Copy your message", () => {}, { "data-copy": "message" }));
    this.fill(message);
    this.guess(message.content);
  }

  get text() {
    return this.body.textContent;
  }

  fill({ id = null, content }) {
    this.id = id;
    if (this.text !== content) this.body.textContent = content;
  }
}

export class AnswerView extends MessageView {
  #meta = h("span", { class: "meta" });
  #text = "";
  #stream = null;
  #drawn = true;

  /** @param {() => void} again called by "Regenerate" and "Try again" */
  constructor(again) {
    super("answer", "The answer", h("div", { class: "prose" }));
    this.again = again;
    this.foot.append(
      iconButton("copy", "Copy the answer", () => {}, { "data-copy": "message" }),
      iconButton("retry", "Regenerate the answer", () => this.again(), { class: "icon-button regenerate" }),
      this.#meta,
    );
  }

  get text() {
    return this.#stream?.text ?? this.#text;
  }

  /** The text as it is shown, without Markdown's marks. */
  get words() {
    return this.body.innerText;
  }

  /** Take over a stored message. `draw` draws it, because drawing hundreds at once would take too long. */
  fill(message) {
    this.id = message.id;
    this.#describe(message);
    if (message.finish_reason in ENDINGS) this.#explain(message.finish_reason);
    if (message.content === this.text) return;
    this.#stream = null;
    this.#text = message.content;
    this.#drawn = false;
    this.guess(message.content);
  }

  draw() {
    if (this.#drawn) return;
    this.#drawn = true;
    this.body.replaceChildren(renderText(this.#text));
  }

  /** Show that it is on its way. @param {() => void} rendered called whenever something was drawn */
  begin(rendered) {
    this.element.classList.add("running", "waiting");
    this.element.setAttribute("aria-busy", "true");
    this.body.replaceChildren();
    this.#stream = new StreamingText(this.body, rendered);
    this.#drawn = true;
  }

  append(token) {
    this.element.classList.remove("waiting");
    this.#stream.append(token);
  }

  reset(text) {
    this.element.classList.toggle("waiting", text === "");
    this.#stream.reset(text);
  }

  /** No more text will come. @param {any} [done] the last event, if it came */
  finish(done) {
    this.element.classList.remove("running", "waiting");
    this.element.removeAttribute("aria-busy");
    this.#stream?.finish();
    if (!done) return;
    this.id = done.message_id;
    this.#describe(done);
    this.#explain(done.finish_reason);
  }

  /** Show what went wrong, with a button to try again. */
  fail(text) {
    this.notify(text, { bad: true, action: "Try again", act: () => this.again() });
  }

  get ending() {
    return this.element.querySelector(".notice:not([hidden]) span")?.textContent ?? "";
  }

  #explain(reason) {
    if (reason === "interrupted" || reason === "error") this.fail(ENDINGS[reason]);
    else if (reason in ENDINGS) this.notify(ENDINGS[reason]);
  }

  #describe({ model_tag: model, token_count: tokens, inference_time_ms: milliseconds }) {
    const known = [
      model && model !== "default" ? shortName(model) : "",
      tokens ? `${tokens} ${tokens === 1 ? "token" : "tokens"}` : "",
      milliseconds ? `${milliseconds < 1000 ? `${milliseconds} ms` : `${(milliseconds / 1000).toFixed(1)} s`}` : "",
    ];
    this.#meta.textContent = known.filter(Boolean).join(" · ");
  }
}
