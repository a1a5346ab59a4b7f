// The settings dialog: how the page looks, and how it is connected.

import { choice, openDialog } from "../ui/dialogs.js";
import { h } from "../ui/dom.js";
import { lasting, setTheme, theme } from "./preferences.js";

/** @returns {"sse" | "ws"} what the reader chose */
export const transport = () => (lasting.get("transport") === "ws" ? "ws" : "sse");

/**
 * @param {import("../../client.js").ChatClient} chat
 * @param {(() => void) | null} signOut null if the page can't sign out
 */
export function openSettings(chat, signOut) {
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
  const leave = signOut && (() => (dialog.close(), signOut()));
  const dialog = openDialog("Settings", [
    choice("Theme", { system: "System", light: "Light", dark: "Dark" }, theme(), setTheme),
    choice("Connection", { sse: "Server-sent events", ws: "WebSocket" }, transport(), setTransport),
    used,
    leave && h("button", { type: "button", class: "secondary", text: "Sign out", on: { click: leave } }),
  ].filter(Boolean));
  dialog.addEventListener("close", () => chat.removeEventListener("transport", describe));
}
