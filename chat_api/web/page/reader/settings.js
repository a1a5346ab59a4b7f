// The settings dialog: how answers come, and how the page looks.

import { choice, openDialog } from "../ui/dialogs.js";
import { h } from "../ui/dom.js";
import { lasting, setTheme, theme } from "./preferences.js";

/** @returns {"sse" | "ws"} what the reader wants */
export const transport = () => (lasting.get("transport") === "ws" ? "ws" : "sse");

/**
 * @param {import("../../client.js").ChatClient} chat
 * @param {(() => void) | null} signOut null where the page can't
 */
export function openSettings(chat, signOut) {
  const setTransport = (wanted) => {
    lasting.set("transport", wanted);
    chat.transport = wanted;
    tell();
  };
  const used = h("p", { class: "small", role: "status" });
  const tell = () => {
    const isBlocked = transport() === "ws" && chat.transport === "sse";
    used.textContent = isBlocked
      ? "WebSockets are blocked on the way to the server: server-sent events are used instead."
      : "Both bring the same answers. A WebSocket serves all conversations over one connection.";
  };
  tell();
  chat.addEventListener("transport", tell);
  const leave = signOut && (() => (dialog.close(), signOut()));
  const dialog = openDialog("Settings", [
    choice("Theme", { system: "System", light: "Light", dark: "Dark" }, theme(), setTheme),
    choice("Connection", { sse: "Server-sent events", ws: "WebSocket" }, transport(), setTransport),
    used,
    leave && h("button", { type: "button", class: "secondary", text: "Sign out", on: { click: leave } }),
  ].filter(Boolean));
  dialog.addEventListener("close", () => chat.removeEventListener("transport", tell));
}
