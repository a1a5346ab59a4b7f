// The versions of a message: which one is shown, and the way to the others.

import { announce } from "../ui/announcer.js";
import { h, iconButton } from "../ui/dom.js";

export class Versions {
  #siblings = null;
  #isLocked = false;
  #seen = h("span", { "aria-hidden": "true" });
  #heard = h("span", { class: "hidden" });
  #steps;

  /** @param {string} name of the message @param {(id: string, step: number) => void} show shows another version */
  constructor(name, show) {
    const step = (icon, label, by) => {
      const click = () => show(this.#siblings.ids[this.#siblings.index + by], by);
      return iconButton(icon, label, click);
    };
    this.#steps = [step("left", "Previous version", -1), step("right", "Next version", 1)];
    this.element = h(
      "div",
      { class: "versions", role: "group", "aria-label": `Versions of ${name}`, hidden: true },
      this.#steps[0],
      this.#seen,
      this.#heard,
      this.#steps[1],
    );
  }

  /** @param {{index: number, ids: string[]} | null} siblings null: there is one version */
  set(siblings) {
    this.#siblings = siblings;
    this.element.hidden = !siblings;
    if (!siblings) return;
    const [number, count] = [siblings.index + 1, siblings.ids.length];
    this.#seen.textContent = `${number}/${count}`;
    this.#heard.textContent = `${number} of ${count}`;
    this.#update();
  }

  lock(isLocked) {
    this.#isLocked = isLocked;
    this.#update();
  }

  /** Focus the button that goes on in this direction, or the other one at the end; tell which version is shown. */
  focus(/** @type {number} */ step) {
    announce(`Version ${this.#heard.textContent}.`);
    const [wanted, other] = step < 0 ? this.#steps : [...this.#steps].reverse();
    (wanted.disabled ? other : wanted).focus();
  }

  #update() {
    const { index = 0, ids = [] } = this.#siblings ?? {};
    this.#steps[0].disabled = this.#isLocked || index === 0;
    this.#steps[1].disabled = this.#isLocked || index === ids.length - 1;
  }
}
