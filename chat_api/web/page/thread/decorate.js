// What Markdown's nodes get on top: a frame and colours for code, a frame to scroll wide tables in, and the true host
// beside a link that names another one.

import { h } from "../ui/dom.js";
import { frameCode } from "./code.js";

/** @param {DocumentFragment} fragment */
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

// What reads as an address: after a scheme anywhere, or at the beginning. A name and password may stand before the host.
const NAMED = /(?:https?:\/\/|^)(?:[^\s/?#@]*@)?([\p{L}\p{N}_-]+(?:\.[\p{L}\p{N}_-]+)+)(?:[/?#:]|\s|$)/iu;

/**
 * [bank.example](https://evil.example) reads as the one and leads to the other; so do bank.example@evil.example, and
 * letters of another script that look like it.
 */
function showHost(link) {
  const url = new URL(link.href);
  const host = url.hostname || url.pathname.split("@").at(-1); // of a mail
  const text = link.textContent.normalize("NFKC").replace(/\p{Default_Ignorable_Code_Point}/gu, "").trim();
  const named = NAMED.exec(text)?.[1];
  const isDisguised = url.username !== "" || url.password !== "" || /(?:^|\.)xn--/.test(host);
  if (!host || !(isDisguised || (named && bare(named) !== bare(host)))) return;
  link.after(h("span", { class: "link-host", text: ` (${host})` }));
}

const bare = (host) => host.toLowerCase().replace(/^www\./, "");
