// Copying to the clipboard.

import { h } from "./dom.js";

/** Copy text. Without a secure origin there is no clipboard API, so a selection is copied instead. */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = h("textarea", { class: "hidden", "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("The browser refused.");
}
