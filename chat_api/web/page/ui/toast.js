// Short notices, some with an action such as Undo.

import { find, h, iconButton } from "./dom.js";

/**
 * @param {string | (Node | string)[]} text
 * @param {{action?: string, act?: () => void, gone?: () => void, seconds?: number}} [options]
 *   `gone` is called if it disappears and the action wasn't chosen.
 * @returns {{close: () => boolean, act: () => boolean}} false if it has already disappeared
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
  // It stays while the pointer or the focus is on it.
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
