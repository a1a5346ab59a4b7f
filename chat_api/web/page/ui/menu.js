// Menus that drop from a button: the browser's popover, with the keys of the ARIA menu pattern.

import { h } from "./dom.js";

/**
 * @param {HTMLElement} button
 * @param {({text: string, icon?: string, act: () => void, checked?: boolean, danger?: boolean, disabled?: boolean,
 *   notes?: string[]} | Node)[]} entries `disabled`: it is read, but can't be chosen; `notes`: what is said of it below
 */
export function openMenu(button, entries) {
  const items = [];
  const menu = h("div", { class: "menu", role: "menu", popover: "auto" });
  for (const entry of entries) {
    if (entry instanceof Node) {
      menu.append(entry);
      continue;
    }
    const { text, icon, act, checked, danger, disabled = false, notes = [] } = entry;
    const id = `${button.id}-${items.length}`;
    const name = h("span", { id, text });
    const below = notes.map((note, place) => h("small", { id: `${id}-${place}`, text: note }));
    const item = h("button", {
      type: "button",
      role: checked === undefined ? "menuitem" : "menuitemradio",
      "aria-checked": checked === undefined ? null : String(checked),
      "aria-disabled": disabled && "true",
      "aria-labelledby": notes.length > 0 && id,
      "aria-describedby": notes.length > 0 && below.map((note) => note.id).join(" "),
      class: danger ? "danger" : "",
      icon: icon ?? (checked ? "check" : undefined),
      tabindex: "-1",
      on: {
        click: () => {
          if (disabled) return;
          menu.hidePopover();
          button.focus(); // before the action, which may move the focus
          act();
        },
      },
    });
    item.append(notes.length ? h("span", { class: "menu-noted" }, name, ...below) : text);
    items.push(item);
    menu.append(item);
  }
  menu.addEventListener("keydown", (event) => move(event, items, menu));
  menu.addEventListener("toggle", (event) => {
    if (event.newState === "open") return;
    button.setAttribute("aria-expanded", "false");
    if (menu.contains(document.activeElement)) button.focus();
    menu.remove();
  });
  button.closest("nav, main").append(menu); // in the same landmark as its button
  button.setAttribute("aria-expanded", "true");
  menu.showPopover();
  place(menu, button);
  (items.find((item) => item.ariaChecked === "true") ?? items[0])?.focus();
}

function move(event, items, menu) {
  const at = items.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
  if (event.key === "Tab") menu.hidePopover();
  if (to === undefined) return;
  event.preventDefault();
  items.at(to % items.length).focus();
}

/** Below the button, or above it if there is no room; within the window. */
function place(menu, button) {
  const anchor = button.getBoundingClientRect();
  const { width, height } = menu.getBoundingClientRect();
  const below = anchor.bottom + 4;
  const top = below + height > innerHeight - 8 ? Math.max(8, anchor.top - height - 4) : below;
  menu.style.top = `${top}px`;
  menu.style.left = `${Math.max(8, Math.min(anchor.left, innerWidth - width - 8))}px`;
}
