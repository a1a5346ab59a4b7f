// A message on the page: its place in the conversation, what can be done with it, and a notice.

import { h, iconButton } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { Versions } from "./versions.js";

const CHARACTERS_A_LINE = 80;
const LINE_PX = 27;

export class MessageView {
  #notice = h("div", { class: "notice", hidden: true });
  #buttons = []; // that change the conversation
  #offered = []; // those of the notice
  #isLocked = false;
  #versions;
  #remove;
  /** The message's id; null: it isn't stored yet. @type {string | null} */
  id = null;

  /**
   * @param {{kind: string, speaker: string, name: string}} words `speaker`: read aloud before; `name`: of the message
   * @param {import("./messages.js").Actions} actions
   * @param {...Node} parts
   */
  constructor({ kind, speaker, name }, actions, ...parts) {
    this.#versions = new Versions(name, (id, step) => actions.switchTo(id, step));
    this.#remove = this.tool("bin", `Delete ${name}`, () => actions.remove(this), { hidden: true });
    this.foot = h("div", { class: "message-foot" }, this.#versions.element, this.#remove);
    this.element = h(
      "article",
      { class: `message ${kind}`, "aria-label": speaker },
      h("h2", { class: "hidden", text: speaker }),
      ...parts,
      this.#notice,
      this.foot,
    );
  }

  /** Put these into its foot. @param {...HTMLElement} tools */
  equip(...tools) {
    this.#remove.before(...tools);
  }

  /** A button that changes the conversation. While that can't be done, it is disabled. */
  tool(picture, name, click, props = {}) {
    const button = iconButton(picture, name, click, props);
    this.#buttons.push(button);
    return button;
  }

  /** Take over its place in the conversation; without one, it isn't stored yet. @param {any} [message] */
  place({ id = null, siblings = null } = {}) {
    this.id = id;
    this.#versions.set(siblings);
    this.#remove.hidden = id === null;
  }

  /** @param {boolean} isLocked whether nothing can be changed now, because an answer is being written */
  lock(isLocked) {
    this.#isLocked = isLocked;
    this.#versions.lock(isLocked);
    for (const button of [...this.#buttons, ...this.#offered]) button.disabled = isLocked;
  }

  /** Focus the way to more versions in this direction. @param {number} step */
  focusVersions(step) {
    this.#versions.focus(step);
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

  /**
   * @param {string} text
   * @param {{bad?: boolean, offers?: {text: string, act: () => void, picture?: string, isLasting?: boolean}[]}} [options]
   *   `offers`: what the reader can do about it; `isLasting`: also when the conversation has gone on
   */
  notify(text, { bad = false, offers = [] } = {}) {
    // It may be told again while the reader is at one of its buttons: an Enter would go nowhere.
    const at = this.#offered.find((button) => button === document.activeElement)?.textContent;
    this.#offered = offers.map(({ text, act, picture = "retry", isLasting = false }) => {
      const click = () => {
        this.hush();
        act();
      };
      const button = h("button", { type: "button", class: "secondary", icon: picture, text, on: { click } });
      button.classList.toggle("lasting", isLasting);
      button.disabled = this.#isLocked;
      return button;
    });
    this.#notice.hidden = false;
    this.#notice.classList.toggle("bad", bad);
    this.#notice.replaceChildren(...(bad ? [icon("warning")] : []), h("span", { text }), ...this.#offered);
    this.#offered.find((button) => button.textContent === at)?.focus();
  }
}
