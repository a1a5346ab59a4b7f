// Which model answers. The reader may choose one for a new conversation. An administrator may load another one on the
// server.

import { h } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { openMenu } from "../ui/menu.js";
import { toast } from "../ui/toast.js";
import { nameOf, shortName } from "./model-name.js";

export class ModelMenu {
  #button;
  #chat;
  #choose;
  #models = { current: "", names: [] };
  #tag = "";
  #isNew = true;
  #canSwap = true;

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

  /** Ask the model server for its models. If that fails, the page has no menu. */
  async load() {
    try {
      const { current_model: current, models } = await this.#chat.models.list();
      this.#models = { current: current ?? "", names: (models ?? []).map(nameOf).filter(Boolean) };
    } catch {
      this.#models = { current: "", names: [] }; // answers will show what is wrong with the model server
    }
    this.#show();
  }

  /** @param {string} tag the open conversation's @param {boolean} isNew whether it may still be changed */
  show(tag, isNew) {
    this.#tag = tag;
    this.#isNew = isNew;
    this.#show();
  }

  get #name() {
    return this.#tag && this.#tag !== "default" ? this.#tag : this.#models.current;
  }

  #show() {
    this.#button.hidden = !this.#name;
    const name = h("span", { text: shortName(this.#name) });
    this.#button.replaceChildren(h("span", { class: "hidden", text: "Model: " }), name, icon("chevron"));
    this.#button.title = this.#name;
  }

  #open() {
    const { current, names } = this.#models;
    const choices = names.map((name) => ({
      text: shortName(name),
      checked: name === this.#name,
      act: () => name !== this.#name && this.#choose(name === current ? "" : name),
    }));
    const hint = this.#isNew ? "Model for this conversation" : "Another model starts a new conversation";
    const loads = names.filter((name) => name !== current && this.#canSwap);
    const swaps = loads.map((name) => ({ text: `Load ${shortName(name)} on the server`, act: () => this.#swap(name) }));
    openMenu(this.#button, [h("p", { class: "menu-hint", text: hint }), ...choices, ...(swaps.length ? [h("hr")] : []), ...swaps]);
  }

  async #swap(name) {
    try {
      await this.#chat.models.swap(name);
      toast(`The server is loading ${shortName(name)}.`);
      await this.load();
    } catch (error) {
      if (error.status === 501 || error.status === 403) this.#canSwap = false; // that won't change while the page is open
      toast(error.message);
    }
  }
}
