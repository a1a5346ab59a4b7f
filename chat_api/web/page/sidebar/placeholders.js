// What the list shows in place of conversations.

import { h } from "../ui/dom.js";

/** Why the list can't be loaded. @param {Error | null} error @param {() => void} again what "Try again" does */
export function apology(error, again) {
  return h(
    "div",
    { class: "list-notice" },
    h("p", { text: error?.message ?? "The list can't be loaded." }),
    h("button", { type: "button", class: "secondary", icon: "retry", text: "Try again", on: { click: again } }),
  );
}

export function skeleton() {
  const lines = [82, 64, 73, 51, 68].map((width) => {
    const line = h("div", { class: "skeleton-line" });
    line.style.width = `${width}%`;
    return line;
  });
  return h("div", { class: "skeleton", role: "status", "aria-label": "Loading the conversations" }, ...lines);
}
