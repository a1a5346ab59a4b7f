// The keyboard shortcuts, and the dialog that lists them.

import { openDialog } from "./dialogs.js";
import { h } from "./dom.js";

const isMac = /mac|iphone|ipad/i.test(navigator.platform);
const MOD = isMac ? "⌘" : "Ctrl";

/** In the order of the dialog. main.js has a function for each name. `mod` is Ctrl, or ⌘ on a Mac. */
const SHORTCUTS = [
  { name: "newChat", keys: [MOD, "Shift", "O"], text: "New chat", mod: true, shift: true, code: "KeyO" },
  { name: "search", keys: [MOD, "K"], text: "Search titles", mod: true, code: "KeyK" },
  { name: "toggleSidebar", keys: [MOD, "Shift", "S"], text: "Show or hide the conversations", mod: true, shift: true, code: "KeyS" },
  { name: "previous", keys: ["Alt", "↑"], text: "Conversation above", alt: true, code: "ArrowUp" },
  { name: "next", keys: ["Alt", "↓"], text: "Conversation below", alt: true, code: "ArrowDown" },
  { name: "write", keys: ["Shift", "Esc"], text: "Go to the message box", shift: true, code: "Escape" },
  { name: "scrollUp", keys: ["PgUp"], text: "Scroll up", code: "PageUp" },
  { name: "scrollDown", keys: ["PgDn"], text: "Scroll down", code: "PageDown" },
  { name: "copyAnswer", keys: [MOD, "Shift", ";"], text: "Copy the last answer", mod: true, shift: true, code: "Semicolon" },
  { name: "regenerate", keys: [MOD, "Shift", "Y"], text: "Regenerate the last answer", mod: true, shift: true, code: "KeyY" },
  { name: "remove", keys: [MOD, "Shift", "⌫"], text: "Delete the conversation", mod: true, shift: true, code: "Backspace" },
  { name: "undo", keys: [MOD, "Z"], text: "Undo a deletion", mod: true, code: "KeyZ", outsideText: true },
  { name: "stop", keys: ["Esc"], text: "Stop the answer", code: "Escape" },
  { name: "help", keys: ["?"], text: "Show this list", key: "?", outsideText: true },
];
const BOX = [
  [["Enter"], "Send"],
  [["Shift", "Enter"], "New line"],
  [["Esc"], "Cancel an edit"],
];
const LIST = [
  [["F2"], "Rename the focused conversation"],
  [["Delete"], "Delete it"],
];

/**
 * @param {Record<string, () => boolean | void>} actions by the shortcuts' names. If one returns false, the browser
 *   handles the key.
 */
export function listenToKeys(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.defaultPrevented) return;
    if (document.querySelector("dialog[open], .menu:popover-open")) return; // they handle the key
    const shortcut = SHORTCUTS.find((each) => fits(each, event));
    if (!shortcut || actions[shortcut.name]() === false) return;
    event.preventDefault();
  });
}

export function openHelp() {
  const row = ([keys, text]) => [h("dt", { text }), h("dd", {}, ...keys.map((key) => h("kbd", { text: key })))];
  const all = [...BOX, ...SHORTCUTS.map(({ keys, text }) => [keys, text]), ...LIST];
  openDialog("Keyboard shortcuts", [h("dl", { class: "keys" }, ...all.flatMap(row))], { wide: true });
}

function fits({ mod = false, shift = false, alt = false, code, key, outsideText = false }, event) {
  if (outsideText && event.target.closest?.("input, textarea")) return false;
  if (key !== undefined) return event.key === key && !event.ctrlKey && !event.metaKey && !event.altKey;
  const isMod = isMac ? event.metaKey && !event.ctrlKey : event.ctrlKey && !event.metaKey;
  return event.code === code && isMod === mod && event.shiftKey === shift && event.altKey === alt;
}
