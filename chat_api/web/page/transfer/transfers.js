// Taking conversations along, and bringing them in. What that needs is loaded when it is first asked for.

import { report } from "../ui/toast.js";

// Dialogs in which a dropped file is not offered: those that must be answered, and the import's own.
const BUSY = "dialog[data-required], dialog:has(.import)";

export class Transfers {
  #chat;
  #conversations;

  /**
   * @param {import("../../client.js").ChatClient} chat
   * @param {import("../sidebar/conversations.js").Conversations} conversations
   */
  constructor(chat, conversations) {
    this.#chat = chat;
    this.#conversations = conversations;
    // A file that is dropped anywhere would else take the page's place.
    document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
    document.addEventListener("drop", (event) => this.#dropped(event));
  }

  /** Download one conversation. @param {string} id @param {"markdown" | "json"} format */
  one(id, format) {
    const { title = "" } = this.#conversations.get(id) ?? {};
    const act = async () => {
      const { downloadOne } = await import("./exports.js");
      await downloadOne(this.#chat, { id, title, format });
    };
    return report(act());
  }

  /** Save a file with all conversations. */
  all() {
    const act = async () => {
      const { exportAll } = await import("./exports.js");
      await exportAll(this.#chat);
    };
    return report(act());
  }

  /** Open the dialog that brings in files. @param {File[]} [files] those that are offered */
  bringIn(files = []) {
    const act = async () => {
      const { openImport } = await import("./import-dialog.js");
      openImport(this.#chat, files, () => {
        this.#conversations.load(); // not only the newest: they have kept their dates
        this.#conversations.tellOthers();
      });
    };
    return report(act());
  }

  #dropped(event) {
    if (!hasFiles(event)) return;
    event.preventDefault();
    if (!document.querySelector(BUSY)) this.bringIn([...event.dataTransfer.files]);
  }
}

const hasFiles = (event) => event.dataTransfer?.types.includes("Files") ?? false;
