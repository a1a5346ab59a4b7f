// The question before a message is deleted: what comes after it goes too, and there is no way back.

import { openDialog } from "../ui/dialogs.js";
import { h } from "../ui/dom.js";

/** @param {number} below how many shown messages come after it @param {() => void} remove */
export function confirmRemoval(below, remove) {
  const act = () => {
    dialog.close();
    remove();
  };
  const after = below === 1 ? "The message after it is" : `The ${below} messages after it are`;
  const more = below ? `${after} deleted too, in every version. ` : "";
  const dialog = openDialog("Delete this message?", [
    h("p", { text: `${more}This can't be undone.` }),
    h(
      "div",
      { class: "dialog-row" },
      h("button", { type: "button", class: "secondary", text: "Cancel", on: { click: () => dialog.close() } }),
      h("button", { type: "button", class: "primary danger", text: "Delete", on: { click: act } }),
    ),
  ]);
  dialog.querySelector(".danger").focus();
}
