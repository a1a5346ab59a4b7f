// The banner that shows a problem with the connection.

import { h } from "./dom.js";

const WORDS = {
  offline: "You are offline. Answers continue on the server and appear when you are back online.",
  reconnecting: "Reconnecting…",
  "signed-out": "You are signed out.",
};
const PATIENCE_MS = 600; // a connection that is restored within this time isn't worth a banner

/**
 * @param {HTMLElement} place
 * @param {import("../../client.js").ChatClient} chat
 * @param {() => void} signIn
 */
export function watchConnection(place, chat, signIn) {
  let timer = 0;
  const show = () => {
    const { status } = chat;
    place.hidden = status === "online";
    place.dataset.status = status;
    if (place.hidden) return place.replaceChildren();
    const button = h("button", { type: "button", class: "secondary", text: "Sign in", on: { click: signIn } });
    place.replaceChildren(h("span", { text: WORDS[status] }), ...(status === "signed-out" ? [button] : []));
  };
  chat.addEventListener("status", () => {
    clearTimeout(timer);
    timer = setTimeout(show, chat.status === "reconnecting" ? PATIENCE_MS : 0);
  });
  show();
}
