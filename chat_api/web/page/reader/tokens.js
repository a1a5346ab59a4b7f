// The page's token: from the site that the page is part of, or else from the reader. It is kept in memory. A typed one
// is also kept in this tab's session storage. It is never in a URL, in a cookie or in anything that outlives the tab.

import { openDialog } from "../ui/dialogs.js";
import { h } from "../ui/dom.js";
import { passing } from "./preferences.js";

const TYPED = "token";
const NONE = "none:";
const PAUSES_MS = [500, 2000, null]; // between tries

export class Tokens {
  #url;
  #baseUrl;

  /**
   * @param {string} url where the site returns a token, may be relative; "": the reader types one; "none:": there is none
   * @param {string} baseUrl
   */
  constructor(url, baseUrl) {
    this.#url = url;
    this.#baseUrl = baseUrl;
  }

  /** Whether the reader types the token, and so may want to sign out. */
  get isTyped() {
    return this.#url === "";
  }

  /** What the client takes as `token`: nothing where a proxy signs the reader in, and no request needs one. */
  get source() {
    return this.#url === NONE ? undefined : (asked) => this.get(asked);
  }

  /** A token; a new one if the last has expired. Waits until the reader has signed in. */
  async get({ expired }) {
    if (this.#url) return this.#fromSite();
    const kept = expired ? null : passing.get(TYPED);
    if (kept) return kept;
    const typed = await askForToken(expired);
    passing.set(TYPED, typed);
    return typed;
  }

  async #fromSite() {
    for (;;) {
      const response = await this.#ask();
      const { token } = response.ok ? await response.json().catch(() => ({})) : {};
      if (typeof token === "string" && token) return token;
      await askToSignIn();
    }
  }

  /** Ask a few times, in case the network fails for a moment. */
  async #ask() {
    for (const pause of PAUSES_MS) {
      try {
        return await fetch(new URL(this.#url, this.#baseUrl), {
          credentials: "include",
          cache: "no-store",
          headers: { Accept: "application/json" },
        });
      } catch (error) {
        if (pause === null) throw error;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }
}

function askForToken(expired) {
  return new Promise((resolve) => {
    const field = h("input", {
      type: "password",
      id: "token",
      required: true,
      autocomplete: "off",
      spellcheck: "false",
      "aria-describedby": "token-why",
    });
    const why = expired
      ? "Your session has ended, or the token was refused. Enter a new one to continue where you left off."
      : "Enter the token that you got for this service. It stays in this tab and is forgotten when you close it.";
    const submit = (event) => {
      event.preventDefault();
      const token = field.value.trim().replace(/^bearer\s+/i, "");
      if (!token) return;
      dialog.close("done");
      resolve(token);
    };
    const form = h(
      "form",
      { class: "stack", on: { submit } },
      h("p", { id: "token-why", text: why }),
      h("label", { for: "token", text: "Token" }),
      field,
      h("button", { class: "primary", text: "Sign in" }),
    );
    const dialog = openDialog("Sign in", [form], { required: true });
    field.focus();
  });
}

function askToSignIn() {
  return new Promise((resolve) => {
    const again = () => {
      dialog.close("done");
      resolve();
    };
    const dialog = openDialog(
      "You are signed out",
      [
        h("p", { text: "Sign in on the site, in another tab if you like. Then continue here where you left off." }),
        h("button", { type: "button", class: "primary", text: "Continue", on: { click: again } }),
      ],
      { required: true },
    );
  });
}
