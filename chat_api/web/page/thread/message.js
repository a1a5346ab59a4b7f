// A message on the page, and a question as it was written.

import { h, iconButton } from "../ui/dom.js";
import { icon } from "../ui/icons.js";

const CHARACTERS_A_LINE = 80;
const LINE_PX = 27;

export class MessageView {
  #notice = h("div", { class: "notice", hidden: true });
  foot = h("div", { class: "message-foot" });

  /** @param {string} kind "question" or "answer" @param {string} speaker read aloud before @param {Node[]} parts */
  constructor(kind, speaker, ...parts) {
    this.id = null;
    this.element = h(
      "article",
      { class: `message ${kind}`, "aria-label": speaker },
      h("h2", { class: "hidden", text: speaker }),
      ...parts,
      this.#notice,
      this.foot,
    );
  }

  /** Estimate its height: the browser doesn't lay out what isn't on the screen yet. */
  guess(text) {
    const lines = text.length / CHARACTERS_A_LINE + text.split("\n").length;
    this.element.style.containIntrinsicBlockSize = `auto ${Math.round(40 + lines * LINE_PX)}px`;
  }

  /** Hide the notice. */
  hush() {
    this.#notice.hidden = true;
  }

  /** @param {string} text @param {{bad?: boolean, action?: string, act?: () => void}} [options] */
  notify(text, { bad = false, action, act } = {}) {
    const again = () => {
      this.hush();
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
  #bubble;

  /** @param {{id?: string, content: string}} message */
  constructor(message) {
    const bubble = h("div", { class: "bubble", dir: "auto", text: message.content });
    super("question", "You said", bubble);
    this.#bubble = bubble;
    this.foot.append(iconButton("copy", "Copy your message", () => {}, { "data-copy": "message" }));
    this.fill(message);
    this.guess(message.content);
  }

  get text() {
    return this.#bubble.textContent;
  }

  fill({ id = null, content }) {
    this.id = id;
    if (this.text !== content) this.#bubble.textContent = content;
  }
}
