// One conversation in the sidebar: a link, its menu, and its title while it is edited.

import { h, iconButton } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { openMenu } from "../ui/menu.js";

const LONGEST_TITLE = 500;

export class ConversationRow {
  #conversation;
  #actions;
  #link;
  #title = h("span", { class: "row-title", dir: "auto" });
  #star = h("span", { class: "row-star", title: "Favourite" }, icon("star"), h("span", { class: "hidden", text: "Favourite: " }));
  #more;

  /**
   * @param {any} conversation
   * @param {{open: (id: string) => void, rename: (id: string, title: string) => void,
   *          favourite: (id: string, is: boolean) => void, remove: (id: string) => void}} actions
   */
  constructor(conversation, actions) {
    this.#actions = actions;
    this.#link = h("a", { class: "row-link", on: { keydown: (event) => this.#key(event), click: (event) => this.#open(event) } });
    this.#more = iconButton("dots", "", () => this.#menu(), { "aria-haspopup": "menu", "aria-expanded": "false", title: null });
    this.element = h("li", { class: "row", "data-id": conversation.id }, this.#link, this.#more);
    this.element.addEventListener("contextmenu", (event) => {
      if (this.element.querySelector("input")) return;
      event.preventDefault();
      this.#menu();
    });
    this.fill(conversation);
  }

  fill(conversation) {
    if (this.#conversation === conversation) return;
    this.#conversation = conversation;
    this.#link.href = `#/${conversation.id}`;
    this.#title.textContent = conversation.title;
    this.#link.title = conversation.title;
    this.#link.replaceChildren(...(conversation.is_favorited ? [this.#star] : []), this.#title);
    this.#more.setAttribute("aria-label", `More for ${conversation.title}`);
  }

  setCurrent(isCurrent) {
    this.element.classList.toggle("current", isCurrent);
    if (isCurrent) this.#link.setAttribute("aria-current", "page");
    else this.#link.removeAttribute("aria-current");
  }

  focus() {
    this.#link.focus();
  }

  /** Edit the title in place: Enter saves it, Escape discards it. */
  rename() {
    const field = h("input", {
      class: "row-field",
      "aria-label": "Title",
      maxlength: String(LONGEST_TITLE),
      dir: "auto",
      value: this.#conversation.title,
    });
    let ended = false;
    const end = (keep) => {
      if (ended) return; // removing the field blurs it, which ends it again
      ended = true;
      const hadFocus = document.activeElement === field;
      field.replaceWith(this.#link);
      if (hadFocus) this.#link.focus();
      const title = field.value.trim();
      if (keep && title && title !== this.#conversation.title) this.#actions.rename(this.#conversation.id, title);
    };
    field.addEventListener("blur", () => end(true));
    field.addEventListener("keydown", (event) => {
      if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
      event.preventDefault();
      event.stopPropagation();
      end(event.key === "Enter");
    });
    this.#link.replaceWith(field);
    field.focus();
    field.select();
  }

  #open(event) {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return; // in another tab or window
    event.preventDefault();
    this.#actions.open(this.#conversation.id);
  }

  #key(event) {
    const { id } = this.#conversation;
    if (event.key === "F2") this.rename();
    else if (event.key === "Delete") this.#actions.remove(id);
    else return;
    event.preventDefault();
  }

  #menu() {
    const { id, is_favorited: isFavourite } = this.#conversation;
    openMenu(this.#more, [
      {
        text: isFavourite ? "Remove from favourites" : "Add to favourites",
        icon: "star",
        act: () => this.#actions.favourite(id, !isFavourite),
      },
      { text: "Rename", icon: "pen", act: () => this.rename() },
      { text: "Delete", icon: "bin", danger: true, act: () => this.#actions.remove(id) },
    ]);
  }
}
