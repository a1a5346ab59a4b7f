// A question as it was written, and its field while it is edited.

import { h, iconButton } from "../ui/dom.js";
import { toast } from "../ui/toast.js";
import { Editor } from "./editor.js";
import { dropEdit, keepEdit, keptEdit } from "./edits.js";
import { MessageView } from "./message.js";

const WORDS = { kind: "question", speaker: "You said", name: "your message" };

export class QuestionView extends MessageView {
  #bubble;
  #actions;
  #edit;
  #editor = null;
  #isLocked = false;
  /** The id of the message that it comes after; null: it begins the conversation; undefined: that isn't known yet. */
  parentId = undefined;

  /** @param {any} message @param {import("./messages.js").Actions} actions */
  constructor(message, actions) {
    const bubble = h("div", { class: "bubble", dir: "auto", text: message.content });
    super(WORDS, actions, bubble);
    this.#bubble = bubble;
    this.#actions = actions;
    this.#edit = this.tool("pen", "Edit your message", () => this.edit());
    this.equip(this.#edit, iconButton("copy", "Copy your message", () => {}, { "data-copy": "message" }));
    this.fill(message);
    this.guess(message.content);
  }

  get text() {
    return this.#bubble.textContent;
  }

  /** The unsent edit; null: there is none, or it changes nothing. */
  get #unsent() {
    return this.#editor && this.#editor.text.trim() !== this.text.trim() ? this.#editor.text : null;
  }

  fill(message) {
    this.place(message);
    this.parentId = message.parent_id;
    this.#edit.hidden = message.parent_id === undefined;
    if (this.text !== message.content) this.#bubble.textContent = message.content;
    const kept = this.id && this.parentId !== undefined ? keptEdit(this.id) : null;
    if (kept !== null && !this.#editor) this.#open(kept, false);
  }

  lock(isLocked) {
    super.lock(isLocked);
    this.#isLocked = isLocked;
    this.#editor?.lock(isLocked);
  }

  edit(text = this.text) {
    if (!this.#editor) this.#open(text, true);
  }

  #open(text, isFocused) {
    const { id } = this;
    this.#editor = new Editor(text, {
      changed: (now) => keepEdit(id, now),
      save: (now) => this.#save(now),
      cancel: () => this.#cancel(),
    });
    keepEdit(id, text);
    this.#editor.lock(this.#isLocked);
    this.#bubble.hidden = true;
    this.#bubble.after(this.#editor.element);
    this.element.classList.add("editing");
    if (isFocused) this.#editor.focus();
  }

  /** Send the edit, if there is one. */
  save() {
    if (this.#editor) this.#save(this.#editor.text);
  }

  /** Leave off editing: the message isn't shown any more. Returns the unsent edit; null: there is none. */
  abandon() {
    const unsent = this.#unsent;
    if (this.#editor) dropEdit(this.id);
    this.#editor = null;
    return unsent;
  }

  /** Send the edit. It is kept until the service has it. */
  #save(text) {
    const editor = this.#editor;
    this.#editor = null; // so the text isn't given back when this is replaced
    if (!this.#actions.edit(this, text)) this.#editor = editor;
  }

  #cancel() {
    const { element } = this.#editor;
    const unsent = this.abandon();
    this.hush();
    element.remove();
    this.#bubble.hidden = false;
    this.element.classList.remove("editing");
    this.#edit.focus();
    if (unsent !== null) toast("Your edit was discarded.", { action: "Undo", act: () => this.edit(unsent) });
  }
}
