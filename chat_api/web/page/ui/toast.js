// Short notices, some with an action such as Undo.

import { find, h, iconButton } from "./dom.js";

/**
 * @param {string | (Node | string)[]} text
 * @param {{action?: string, act?: () => void, gone?: () => void, seconds?: number}} [options]
 *   `gone` is called when it disappears without the action having been chosen.
 * @returns {{close: () => boolean, act: () => boolean}} false where it has disappeared already
 */
export function toast(text, { action, act, gone, seconds = 5 } = {}) {
  let left = false;
  const leave = (call) => {
    if (left) return false;
    left = true;
    clearTimeout(timer);
    box.remove();
    call?.();
    return true;
  };
  const chosen = () => leave(act);
  const box = h(
    "div",
    { class: "toast", role: "status" },
    h("span", {}, ...[text].flat()),
    action && h("button", { type: "button", class: "toast-action", text: action, on: { click: chosen } }),
    iconButton("close", "Dismiss", () => leave(gone)),
  );
  // Whoever reads it, or is on the way to its button, has time.
  let timer = 0;
  const wait = () => (timer = setTimeout(() => leave(gone), seconds * 1000));
  const hold = () => clearTimeout(timer);
  box.addEventListener("pointerenter", hold);
  box.addEventListener("focusin", hold);
  box.addEventListener("pointerleave", wait);
  box.addEventListener("focusout", wait);
  find("toasts").append(box);
  wait();
  return { close: () => leave(gone), act: chosen };
}
