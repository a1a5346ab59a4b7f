// What a search found in messages, below the titles, and how the search goes.

import { announce } from "../ui/announcer.js";
import { h } from "../ui/dom.js";
import { Finder } from "./finder.js";
import { hitRow } from "./hit.js";
import { endsShort } from "./words.js";

/**
 * @typedef {{open: (conversationId: string, hit: any) => void, found: (conversations: any[]) => void,
 *   title: (conversationId: string) => string | undefined, titles: () => {count: number, isComplete: boolean},
 *   off: () => void}} Actions
 *   `found` gets the conversations of the hits; `title`: undefined if it is being deleted; `titles`: how many the page
 *   shows; `off` is called when the service turns out not to search
 */

const FOCUSABLE = "a, button";

export class Results {
  #place;
  #actions;
  #finder;
  #words = "";
  #told = "";
  #shape = "";

  /** @param {HTMLElement} place @param {import("../../client.js").ChatClient} chat @param {Actions} actions */
  constructor(place, chat, actions) {
    this.#place = place;
    this.#actions = actions;
    this.#finder = new Finder(chat, () => this.#changed());
  }

  /** The ids of the conversations whose titles were found by these words. @param {string} words @returns {Set<string>} */
  titlesFor(words) {
    const { hits } = this.#finder;
    if (words !== this.#finder.words) return new Set();
    return new Set(hits.filter((hit) => hit.message_id === null).map((hit) => hit.conversation.id));
  }

  /** @param {string} words "": the search is over */
  look(words) {
    if (words === this.#words) return;
    this.#words = words;
    this.#told = "";
    this.#finder.look(words);
  }

  /** Show what was found: the titles beside it, or those of its conversations, have changed. */
  show() {
    this.#place.hidden = this.#words === "";
    this.#place.setAttribute("aria-busy", String(this.#finder.state === "looking"));
    const messages = this.#messages.map((hit) => ({ hit, title: this.#actions.title(hit.conversation.id) ?? "" }));
    const shape = JSON.stringify([messages, this.#sentence(messages.length), this.#finder.state, this.#finder.hasMore]);
    if (shape === this.#shape) return; // else a row could be replaced while it is clicked
    this.#shape = shape;
    const focused = [...this.#place.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
    this.#place.replaceChildren(...this.#content(messages));
    if (focused >= 0) this.#place.querySelectorAll(FOCUSABLE)[focused]?.focus();
  }

  *#content(messages) {
    const open = (hit) => this.#actions.open(hit.conversation.id, hit);
    const rows = messages.map(({ hit, title }) => hitRow(hit, title, open));
    if (rows.length) yield h("section", { "aria-label": "Messages" }, h("h2", { text: "Messages" }), h("ul", {}, ...rows));
    yield* this.#notice(rows.length);
  }

  get #messages() {
    const { hits } = this.#finder;
    const isThere = ({ conversation }) => this.#actions.title(conversation.id) !== undefined;
    return hits.filter((hit) => hit.message_id !== null && isThere(hit));
  }

  #changed() {
    const { state, hits } = this.#finder;
    if (state === "off") this.#actions.off();
    this.#actions.found(hits.map((hit) => hit.conversation)); // shows this, too
    if (this.#words && ["found", "off", "failed", "offline"].includes(state)) this.#tell();
  }

  /** Tell a screen reader how the search ended, once. */
  #tell() {
    const messages = this.#messages.length;
    const { count } = this.#actions.titles();
    const sentences = messages || count ? [`Found: ${number(count, "title")}, ${number(messages, "message")}.`] : [];
    const text = [...sentences, this.#sentence(messages)].join(" ").trim();
    if (text !== this.#told) announce(text);
    this.#told = text;
  }

  *#notice(messages) {
    const { state, hasMore } = this.#finder;
    const text = this.#sentence(messages);
    const again = () => this.#finder.again(this.#words);
    if (text) yield h("p", { class: "list-notice", text });
    if (state === "failed") yield button("Try again", "retry", again);
    if (state === "found" && hasMore) yield button("Search further back", "down", () => this.#finder.more());
  }

  /** What the reader is told of the search. @param {number} messages how many are shown */
  #sentence(messages) {
    const { state, error, wait, hasMore } = this.#finder;
    const { count, isComplete } = this.#actions.titles();
    if (state === "looking") return messages ? "" : "Searching…";
    if (state === "waiting") return `Too many searches in a short time. This one goes on by itself in ${number(wait, "second")}.`;
    if (state === "offline") return "Messages can't be searched without a connection. The search goes on when it is back.";
    if (state === "failed") return error.message;
    if (state === "off" && !count) return isComplete ? "No title contains all of these words." : "Searching…";
    if (state !== "found" || messages) return "";
    if (hasMore) return "No message has this so far.";
    const hint = endsShort(this.#words) ? " A word is found by its beginning from its fourth letter." : "";
    const nothing = count ? "No message has this." : `Nothing was found for “${this.#words}”. Titles and messages were searched.`;
    return nothing + hint;
  }
}

function button(text, icon, click) {
  return h("button", { type: "button", class: "secondary search-more", icon, text, on: { click } });
}

const number = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
