// The settings dialog: how the page looks, how it is connected, and the way in and out for conversations.

import { choice, openDialog } from "../ui/dialogs.js";
import { h } from "../ui/dom.js";
import { lasting, setTheme, theme } from "./preferences.js";

/** @returns {"sse" | "ws"} what the reader chose */
export const transport = () => (lasting.get("transport") === "ws" ? "ws" : "sse");

/**
 * @param {import("../../client.js").ChatClient} chat
 * @param {{all: () => void, bringIn: () => void}} transfers export and import
 * @param {(() => void) | null} signOut null if the page can't sign out
 */
export function openSettings(chat, transfers, signOut) {
  const setTransport = (wanted) => {
    lasting.set("transport", wanted);
    chat.transport = wanted;
    describe();
  };
  const used = h("p", { class: "small", role: "status" });
  const describe = () => {
    const isBlocked = transport() === "ws" && chat.transport === "sse";
    used.textContent = isBlocked
      ? "WebSockets are blocked on the way to the server. Server-sent events are used instead."
      : "Both deliver the same answers. A WebSocket uses one connection for all conversations.";
  };
  describe();
  chat.addEventListener("transport", describe);
  const then = (act) => () => (dialog.close(), act());
  const button = (icon, text, act) => h("button", { type: "button", class: "secondary", icon, text, on: { click: then(act) } });
  const dialog = openDialog("Settings", [
    choice("Theme", { system: "System", light: "Light", dark: "Dark" }, theme(), setTheme),
    choice("Connection", { sse: "Server-sent events", ws: "WebSocket" }, transport(), setTransport),
    used,
    h(
      "fieldset",
      { class: "choice" },
      h("legend", { text: "Your conversations" }),
      h(
        "div",
        { class: "button-column" },
        button("download", "Export all my conversations", () => transfers.all()),
        button("upload", "Import conversations…", () => transfers.bringIn()),
      ),
    ),
    signOut && button(undefined, "Sign out", signOut),
  ].filter(Boolean));
  dialog.addEventListener("close", () => chat.removeEventListener("transport", describe));
}
