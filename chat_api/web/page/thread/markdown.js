// Markdown to nodes: marked makes HTML from it, sanitise.js makes nodes from that, and decorate.js adds to them.

import { Marked } from "../ui/libraries.js";
import { decorate } from "./decorate.js";
import { sanitise } from "./sanitise.js";

const LINKS = new Set(["http:", "https:", "mailto:"]);
const PICTURE = /^data:image\/(png|jpeg|gif|webp);base64,[a-z0-9+/=]+$/i;
// In an answer only these HTML tags have an effect. Others are shown as they were written, as in "use a <div>".
const HARMLESS = /^<\/?(br|del|ins|kbd|mark|s|sub|sup|u)\s*\/?>$/i;
// A line that opens twenty quotes or lists. Nobody can read such nesting, and thousands exhaust the parser's stack.
const DEEP = /^ {0,3}(?:(?:>|(?:[-*+]|\d{1,9}[.)])(?=[ \t]))[ \t]*){20}[^\n]*(?:\n[^\n]*\S[^\n]*)*/;
const SEEN_WITHOUT_TEXT = "hr, img, li, td, th";

const marked = new Marked({
  gfm: true,
  breaks: true, // models break lines where they want a line break
  renderer: {
    html: ({ text, block }) => {
      if (HARMLESS.test(text.trim())) return text;
      return block ? asWritten(text) : lines(text);
    },
    // The page's title is h1, and the speaker of a message h2.
    heading({ tokens, depth }) {
      const level = Math.min(depth + 2, 6);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    blockquote({ tokens, raw }) {
      const quoted = this.parser.parse(tokens);
      return quoted.trim() ? `<blockquote>\n${quoted}</blockquote>\n` : asWritten(raw);
    },
    link({ href, tokens }) {
      return anchor(href, this.parser.parseInline(tokens));
    },
    // Loading a picture would reveal the reader to its host. So it becomes a link, which the reader may follow.
    image({ href, text }) {
      if (PICTURE.test(href)) return `<img src="${href}" alt="${escape(text)}">`;
      return anchor(href, escape(text || href));
    },
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
  extensions: [{ name: "plain", level: "block", tokenizer: tooDeep, renderer: ({ raw }) => asWritten(raw) }],
});

/** The top-level blocks of a text. Joined, their `raw` texts are the text. */
export function blocks(text) {
  return orElse(
    () => marked.lexer(text),
    () => [{ type: "plain", raw: text }],
  );
}

/** Nodes for some of these blocks. What can't be rendered, or would be invisible, is shown as written. */
export function render(tokens) {
  const written = tokens.filter(({ type }) => type !== "def").map(({ raw }) => raw).join("");
  return orElse(
    () => {
      const fragment = rendered(marked.parser(tokens));
      return isSeen(fragment) || !written.trim() ? fragment : rendered(asWritten(written));
    },
    () => rendered(asWritten(written)),
  );
}

/** Nodes for a whole text. */
export const renderText = (text) => render(blocks(text));

function rendered(html) {
  const fragment = sanitise(html);
  decorate(fragment);
  return fragment;
}

const isSeen = (fragment) => fragment.textContent.trim() !== "" || fragment.querySelector(SEEN_WITHOUT_TEXT) !== null;

/** A text that crashes the parser must not crash the page. */
function orElse(make, instead) {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof RangeError)) reportError(error); // a stack overflow is due to the text, anything else is a bug
    return instead();
  }
}

function tooDeep(text) {
  const raw = DEEP.exec(text)?.[0];
  return raw && { type: "plain", raw };
}

const asWritten = (text) => `<p>${lines(text)}</p>`;

const lines = (text) => escape(text.trim()).replaceAll("\n", "<br>");

/** A link whose title is its address, not the title that the answer gives it. */
function anchor(href, inner) {
  const url = URL.canParse(href) ? new URL(href) : null;
  if (!url || !LINKS.has(url.protocol)) return inner; // javascript:, data:, or an address relative to this page
  const address = escape(url.href);
  return `<a href="${address}" title="${address}" target="_blank" rel="noopener noreferrer nofollow">${inner}</a>`;
}

function escape(text) {
  const entities = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (character) => entities[character]);
}
