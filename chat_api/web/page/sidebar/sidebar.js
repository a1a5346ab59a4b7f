// The list of conversations: its sections, its search, and its text when it is empty.

import { h } from "../ui/dom.js";
import { ConversationRow } from "./conversation-row.js";
import { sections } from "./dates.js";

const NEAR_END_PX = 400;

export class Sidebar {
  #place;
  #conversations;
  #actions;
  #rows = new Map();
  #shape = "";
  #current = null;
  #words = "";

  /**
   * @param {HTMLElement} place
   * @param {HTMLInputElement} search
   * @param {import("./conversations.js").Conversations} conversations
   * @param {object} actions what a row can do, see ConversationRow
   */
  constructor(place, search, conversations, actions) {
    this.#place = place;
    this.#conversations = conversations;
    this.#actions = actions;
    conversations.addEventListener("change", () => this.#show());
    search.addEventListener("input", () => this.#search(search.value));
    search.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "Enter") this.#rows.get(this.#shown[0]?.id)?.focus();
      else if (event.key === "Escape" && search.value) this.#search((search.value = ""));
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    place.addEventListener("keydown", (event) => this.#move(event));
    place.addEventListener("focusout", () => setTimeout(() => this.#show()));
    place.addEventListener("scroll", () => this.#loadMore(), { passive: true });
    this.#show();
  }

  /** The id of the open conversation; null: a new one. */
  set current(id) {
    this.#rows.get(this.#current)?.setCurrent(false);
    this.#current = id;
    this.#rows.get(id)?.setCurrent(true);
  }

  /** The conversation above (-1) or below (1) another. */
  neighbour(id, step) {
    const shown = this.#shown;
    return shown[shown.findIndex((each) => each.id === id) + step];
  }

  rename(id) {
    this.#rows.get(id)?.rename();
  }

  get #shown() {
    return [...this.#sections().values()].flat();
  }

  #sections() {
    const words = this.#words.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const matches = ({ title }) => words.every((word) => title.toLocaleLowerCase().includes(word));
    return sections(words.length ? this.#conversations.items.filter(matches) : this.#conversations.items);
  }

  #search(words) {
    this.#words = words;
    this.#show();
    if (words) this.#conversations.all();
  }

  #show() {
    const found = this.#sections();
    // If the same rows stay in the same places, they are only filled again: rebuilding loses focus and scroll position.
    const shape = JSON.stringify([this.#notice(found), [...found].map(([name, each]) => [name, each.map(({ id }) => id)])]);
    for (const conversation of [...found.values()].flat()) this.#row(conversation);
    if (shape === this.#shape || this.#place.querySelector("input")) return; // a title is being edited
    this.#shape = shape;
    const focused = document.activeElement;
    this.#place.replaceChildren(...this.#content(found));
    if (focused instanceof HTMLElement && this.#place.contains(focused)) focused.focus();
    this.#place.setAttribute("aria-busy", String(this.#conversations.state === "loading"));
  }

  *#content(found) {
    const notice = this.#notice(found);
    if (notice === "loading") yield skeleton();
    else if (notice === "failed") yield this.#failure();
    else if (notice) yield h("p", { class: "list-notice", text: notice });
    for (const [name, conversations] of found) {
      const rows = conversations.map(({ id }) => this.#rows.get(id).element);
      yield h("section", { "aria-label": name }, h("h2", { text: name }), h("ul", {}, ...rows));
    }
  }

  #notice(found) {
    if (this.#conversations.state !== "ready") return this.#conversations.state;
    if (found.size) return "";
    if (this.#words) return this.#conversations.isComplete ? "No title contains all of these words." : "Searching…";
    return "Your conversations will appear here.";
  }

  #failure() {
    const again = () => this.#conversations.load();
    return h(
      "div",
      { class: "list-notice" },
      h("p", { text: this.#conversations.error?.message ?? "The list can't be loaded." }),
      h("button", { type: "button", class: "secondary", icon: "retry", text: "Try again", on: { click: again } }),
    );
  }

  #row(conversation) {
    let row = this.#rows.get(conversation.id);
    if (row) row.fill(conversation);
    else this.#rows.set(conversation.id, (row = new ConversationRow(conversation, this.#actions)));
    row.setCurrent(conversation.id === this.#current);
  }

  #move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const id = document.activeElement?.closest("[data-id]")?.dataset.id;
    if (!step || !id || event.target.matches("input")) return;
    event.preventDefault();
    this.#rows.get(this.neighbour(id, step)?.id)?.focus();
  }

  #loadMore() {
    const { scrollHeight, scrollTop, clientHeight } = this.#place;
    if (scrollHeight - scrollTop - clientHeight < NEAR_END_PX && !this.#conversations.isComplete) this.#conversations.more();
  }
}

function skeleton() {
  const lines = [82, 64, 73, 51, 68].map((width) => {
    const line = h("div", { class: "skeleton-line" });
    line.style.width = `${width}%`;
    return line;
  });
  return h("div", { class: "skeleton", role: "status", "aria-label": "Loading the conversations" }, ...lines);
}
