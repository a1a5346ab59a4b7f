// Modal dialogs: the browser's own, which hold the focus and return it.

import { h, iconButton } from "./dom.js";

/**
 * @param {string} title
 * @param {(Node | string | false)[]} content
 * @param {{required?: boolean, wide?: boolean}} [options] `required`: only `close("done")` closes it
 * @returns {HTMLDialogElement} shown; it leaves the page when it closes
 */
export function openDialog(title, content, { required = false, wide = false } = {}) {
  const heading = h("h2", { text: title, id: `dialog-${++opened}` });
  const dialog = h(
    "dialog",
    { class: wide ? "dialog wide" : "dialog", "aria-labelledby": heading.id, "data-required": required },
    h("div", { class: "dialog-head" }, heading, !required && iconButton("close", "Close", () => dialog.close())),
    ...content,
  );
  dialog.addEventListener("close", () => {
    if (required && dialog.returnValue !== "done") dialog.showModal(); // browsers close it on a second Escape
    else dialog.remove();
  });
  dialog.addEventListener("cancel", (event) => required && event.preventDefault());
  dialog.addEventListener("pointerdown", (event) => {
    if (event.target === dialog && !required) dialog.close(); // a click outside
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Close the dialogs that aren't required, because the page below them changes. */
export function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog[open]:not([data-required])")) dialog.close();
}

let opened = 0;

/** A choice of one value. @param {Record<string, string>} values texts by value */
export function choice(name, values, chosen, choose) {
  const inputs = Object.entries(values).map(([value, text]) => {
    const input = h("input", { type: "radio", name, value, on: { change: () => choose(value) } });
    input.checked = value === chosen;
    return h("label", {}, input, h("span", { text }));
  });
  return h("fieldset", { class: "choice" }, h("legend", { text: name }), h("div", { class: "segments" }, ...inputs));
}
