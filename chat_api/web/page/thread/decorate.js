// Additions to Markdown's nodes: frames for code, frames in which wide tables scroll, and the true host after a link
// that names another one.

import { h } from "../ui/dom.js";
import { frameCode } from "./code.js";

/** Make these additions. @param {DocumentFragment} fragment */
export function decorate(fragment) {
  fragment.querySelectorAll("pre > code").forEach(frameCode);
  fragment.querySelectorAll("table").forEach(frameTable);
  fragment.querySelectorAll("a[href]").forEach(showHost);
}

function frameTable(table) {
  const frame = h("div", { class: "table", role: "region", "aria-label": "Table", tabindex: "0" });
  table.replaceWith(frame);
  frame.append(table);
}

// A text that reads as an address: after a scheme anywhere, or at the start. A user and password may precede the host.
const NAMED = /(?:https?:\/\/|^)(?:[^\s/?#@]*@)?([\p{L}\p{N}_-]+(?:\.[\p{L}\p{N}_-]+)+)(?:[/?#:]|\s|$)/iu;

/**
 * Show a link's true host if its text suggests another one. [bank.example](https://evil.example) does; so do
 * bank.example@evil.example, and letters of another script that look alike.
 */
function showHost(link) {
  const url = new URL(link.href);
  const host = url.hostname || url.pathname.split("@").at(-1); // a mail address has no hostname
  const text = link.textContent.normalize("NFKC").replace(/\p{Default_Ignorable_Code_Point}/gu, "").trim();
  const named = NAMED.exec(text)?.[1];
  const isDisguised = url.username !== "" || url.password !== "" || /(?:^|\.)xn--/.test(host);
  if (!host || !(isDisguised || (named && bare(named) !== bare(host)))) return;
  link.after(h("span", { class: "link-host", text: ` (${host})` }));
}

const bare = (host) => host.toLowerCase().replace(/^www\./, "");
