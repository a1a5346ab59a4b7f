// The sidebar's place: beside the conversation if there is room, else a drawer over it.

import { lasting } from "../reader/preferences.js";

export class Drawer {
  #parts;
  #narrow = matchMedia("(max-width: 760px)");
  #isOpen = false;

  /** @param {{sidebar: HTMLElement, main: HTMLElement, backdrop: HTMLElement, show: HTMLElement, hide: HTMLElement}} parts */
  constructor(parts) {
    this.#parts = parts;
    const { backdrop, show, hide } = parts;
    show.addEventListener("click", () => this.toggle(true));
    hide.addEventListener("click", () => this.toggle(false));
    backdrop.addEventListener("click", () => this.toggle(false));
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.defaultPrevented || !this.isOver || document.querySelector(":popover-open")) return;
      event.preventDefault();
      this.toggle(false);
    });
    this.#narrow.addEventListener("change", () => this.#fit());
    this.#fit();
  }

  /** Whether it covers the conversation. */
  get isOver() {
    return this.#narrow.matches && this.#isOpen;
  }

  toggle(open = !this.#isOpen) {
    this.#isOpen = open;
    if (!this.#narrow.matches) lasting.set("sidebar", open ? null : "hidden");
    this.#show();
    const { show, hide } = this.#parts;
    (open ? hide : show).focus();
  }

  /** Close it after a choice, if it covers the conversation. */
  done() {
    if (!this.isOver) return;
    this.#isOpen = false;
    this.#show();
  }

  #fit() {
    this.#isOpen = !this.#narrow.matches && lasting.get("sidebar") !== "hidden";
    this.#show();
  }

  #show() {
    const { sidebar, main, backdrop, show } = this.#parts;
    document.body.dataset.sidebar = this.#isOpen ? "open" : "closed";
    sidebar.inert = !this.#isOpen;
    main.inert = this.isOver;
    backdrop.hidden = !this.isOver;
    show.setAttribute("aria-expanded", String(this.#isOpen));
  }
}
