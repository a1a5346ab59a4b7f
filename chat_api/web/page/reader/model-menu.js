// Which model answers. The reader may choose one for a new conversation. An administrator may load another one on the
// server.

import { h } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { openMenu } from "../ui/menu.js";
import { toast } from "../ui/toast.js";
import { learnNames, nameOf, shownName } from "./model-name.js";

const FRESH_MS = 15_000; // the service looks no more often whether a model server answers
const PATIENCE_MS = 400; // for a newer list, before the menu opens with the old one
const AWAY = "Away: none of its servers answers just now.";

export class ModelMenu {
  #button;
  #chat;
  #choose;
  #current = "";
  #models = [];
  #canSwap = true;
  #isOwnList = false;
  #loadedAt = -FRESH_MS;
  #tag = "";
  #isNew = true;

  /**
   * @param {HTMLElement} button
   * @param {import("../../client.js").ChatClient} chat
   * @param {(tag: string) => void} choose called with the model for a new conversation
   */
  constructor(button, chat, choose) {
    this.#button = button;
    this.#chat = chat;
    this.#choose = choose;
    button.addEventListener("click", () => this.#open());
  }

  /** Ask for the models. Without any, the page has no menu. If this fails, what was known before is shown. */
  async load() {
    let list;
    try {
      list = await this.#chat.models.list();
    } catch {
      return; // answers will show what is wrong with the model server
    }
    const details = list.details ?? (list.models ?? []).map(nameOf).filter(Boolean).map(plain);
    learnNames(details);
    this.#current = list.current_model ?? "";
    this.#models = details;
    // An operator's own names and descriptions are no names of a server's that it could load.
    this.#isOwnList = details.every(({ tag, name, description }) => name === tag && !description);
    this.#loadedAt = performance.now();
    this.#show();
  }

  /** Ask again, if the list isn't new. */
  async refresh() {
    if (performance.now() - this.#loadedAt >= FRESH_MS) await this.load();
  }

  /** @param {string} tag the open conversation's @param {boolean} isNew whether it may still be changed */
  show(tag, isNew) {
    this.#tag = tag;
    this.#isNew = isNew;
    this.#show();
  }

  /** The tag of the model that answers here. */
  get #chosen() {
    return this.#tag && this.#tag !== "default" ? this.#tag : this.#current;
  }

  #show() {
    const chosen = this.#chosen;
    const isAway = this.#models.some(({ tag, available }) => tag === chosen && !available);
    this.#button.hidden = !chosen;
    this.#button.replaceChildren(
      h("span", { class: "hidden", text: "Model: " }),
      h("span", { text: shownName(chosen) }),
      ...(isAway ? [h("em", { class: "away", text: " away" })] : []),
      icon("chevron"),
    );
    this.#button.title = isAway ? `${shownName(chosen)}. ${AWAY}` : chosen;
  }

  async #open() {
    if (this.#button.getAttribute("aria-expanded") === "true") return;
    await Promise.race([this.refresh(), new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
    const chosen = this.#chosen;
    const choices = this.#models.map(({ tag, description, available }) => ({
      text: shownName(tag),
      notes: [description, available ? "" : AWAY].filter(Boolean),
      checked: tag === chosen,
      disabled: !available,
      act: () => tag !== chosen && this.#choose(tag === this.#current ? "" : tag),
    }));
    const hint = this.#isNew ? "Model for this conversation" : "Another model starts a new conversation";
    const swaps = this.#loadable.map((tag) => ({ text: `Load ${shownName(tag)} on the server`, act: () => this.#swap(tag) }));
    openMenu(this.#button, [h("p", { class: "menu-hint", text: hint }), ...choices, ...(swaps.length ? [h("hr")] : []), ...swaps]);
  }

  /** The models that the server may be asked to load. */
  get #loadable() {
    if (!this.#canSwap || !this.#isOwnList) return [];
    return this.#models.map(({ tag }) => tag).filter((tag) => tag !== this.#current);
  }

  async #swap(tag) {
    try {
      await this.#chat.models.swap(tag);
      toast(`The server is loading ${shownName(tag)}.`);
      await this.load();
    } catch (error) {
      if (error.status === 501 || error.status === 403) this.#canSwap = false; // that won't change while the page is open
      toast(error.message);
    }
  }
}

/** A model of which only the name is known. */
const plain = (name) => ({ tag: name, name, description: null, available: true });
