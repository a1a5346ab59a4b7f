// The list of conversations: its sections, its search, and its text when it is empty.

import { isSearch, matcher } from "../search/words.js";
import { h } from "../ui/dom.js";
import { move, placesIn } from "./arrows.js";
import { ConversationRow } from "./conversation-row.js";
import { sections } from "./dates.js";
import { apology, skeleton } from "./placeholders.js";

const NEAR_END_PX = 400;
const TITLES_AT_ONCE = 6; // of a search: the messages below them should be seen

export class Sidebar {
  #place;
  #field;
  #chat;
  #conversations;
  #actions;
  #list = h("div");
  #found = h("div", { class: "found", hidden: true });
  #results = null; // loaded with the first search
  #failure = ""; // why it couldn't be
  #rows = new Map();
  #shape = "";
  #current = null;
  #words = "";
  #isWhole = false; // all titles that a search found are shown

  /**
   * @param {HTMLElement} place
   * @param {HTMLInputElement} search
   * @param {import("../../client.js").ChatClient} chat
   * @param {import("./conversations.js").Conversations} conversations
   * @param {any} actions what a row can do, see ConversationRow; `goTo(id, hit)` opens a message that was found
   */
  constructor(place, search, chat, conversations, actions) {
    this.#place = place;
    this.#field = search;
    this.#chat = chat;
    this.#conversations = conversations;
    this.#actions = actions;
    place.append(this.#list, this.#found);
    conversations.addEventListener("change", () => this.#show());
    search.addEventListener("input", () => this.#search(search.value));
    search.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "Enter") placesIn(place)[0]?.focus();
      else if (event.key === "Escape" && search.value) this.#search((search.value = ""));
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    place.addEventListener("keydown", (event) => move(event, place, search));
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
    const { items } = this.#conversations;
    if (!this.#words) return sections(items);
    const titled = this.#titled(items);
    const shown = this.#isWhole ? titled : titled.slice(0, TITLES_AT_ONCE);
    return new Map(shown.length ? [["Titles", shown]] : []);
  }

  /** The conversations whose titles a search found: here, or by the service. */
  #titled(items) {
    const fits = matcher(this.#words);
    const found = this.#results?.titlesFor(this.#words);
    return items.filter(({ id, title }) => fits(title) || found?.has(id));
  }

  async #search(typed) {
    const words = typed.trim();
    if (words === this.#words) return;
    this.#words = words;
    this.#isWhole = false;
    this.#show();
    this.#place.scrollTop = 0;
    if (words) this.#conversations.all();
    if (words && !this.#results) await this.#begin();
    this.#results?.look(isSearch(this.#words) ? this.#words : "");
  }

  async #begin() {
    try {
      const { Results } = await import("../search/results.js");
      this.#failure = "";
      this.#results ??= new Results(this.#found, this.#chat, {
        open: this.#actions.goTo,
        found: (conversations) => this.#conversations.put(...conversations),
        title: (id) => this.#conversations.get(id)?.title,
        titles: () => ({ count: this.#titles, isComplete: this.#conversations.isComplete }),
        off: () => (this.#field.placeholder = this.#field.ariaLabel = "Search titles"),
      });
    } catch {
      this.#failure = "Only titles are searched: the page can't load what it needs to search messages.";
      this.#show();
    }
  }

  #show() {
    this.#results?.show();
    const found = this.#sections();
    // If the same rows stay in the same places, they are only filled again: rebuilding loses focus and scroll position.
    const more = this.#hidden;
    const listed = [...found].map(([name, each]) => [name, each.map(({ id }) => id)]);
    const shape = JSON.stringify([this.#notice(found), more, listed]);
    for (const conversation of [...found.values()].flat()) this.#row(conversation);
    if (shape === this.#shape || this.#list.querySelector("input")) return; // a title is being edited
    this.#shape = shape;
    const focused = document.activeElement;
    this.#list.replaceChildren(...this.#content(found, more));
    if (focused instanceof HTMLElement && this.#list.contains(focused)) focused.focus();
    this.#place.setAttribute("aria-busy", String(this.#conversations.state === "loading"));
  }

  /** How many titles a search found. */
  get #titles() {
    return this.#titled(this.#conversations.items).length;
  }

  /** How many of them aren't shown. */
  get #hidden() {
    return this.#words && !this.#isWhole ? Math.max(0, this.#titles - TITLES_AT_ONCE) : 0;
  }

  *#content(found, more) {
    const notice = this.#notice(found);
    if (notice === "loading") yield skeleton();
    else if (notice === "failed") yield apology(this.#conversations.error, () => this.#conversations.load());
    else if (notice) yield h("p", { class: "list-notice", text: notice });
    for (const [name, conversations] of found) {
      const rows = conversations.map(({ id }) => this.#rows.get(id).element);
      yield h("section", { "aria-label": name }, h("h2", { text: name }), h("ul", {}, ...rows));
    }
    if (more) yield this.#unfolder(`${more} more titles`);
  }

  #unfolder(text) {
    const unfold = () => {
      this.#isWhole = true;
      this.#show();
      placesIn(this.#place)[TITLES_AT_ONCE]?.focus();
    };
    return h("button", { type: "button", class: "secondary search-more", icon: "chevron", text, on: { click: unfold } });
  }

  #notice(found) {
    if (this.#conversations.state !== "ready") return this.#conversations.state;
    if (this.#words && !isSearch(this.#words)) return found.size ? "" : "Nothing was found.";
    if (this.#words) return this.#failure; // the results tell the rest
    return found.size ? "" : "Your conversations will appear here.";
  }

  #row(conversation) {
    let row = this.#rows.get(conversation.id);
    if (row) row.fill(conversation);
    else this.#rows.set(conversation.id, (row = new ConversationRow(conversation, this.#actions)));
    row.setCurrent(conversation.id === this.#current);
  }

  #loadMore() {
    const { scrollHeight, scrollTop, clientHeight } = this.#place;
    if (scrollHeight - scrollTop - clientHeight < NEAR_END_PX && !this.#conversations.isComplete) this.#conversations.more();
  }
}
