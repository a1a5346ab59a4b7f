// Markdown to nodes: the one place where text that others wrote becomes elements. DOMPurify makes the nodes from
// marked's HTML; the page's policy (Trusted Types) lets nobody else do so.

import { decorate } from "./code.js";
import { DOMPurify, Marked } from "../ui/libraries.js";

const ALLOWED = {
  ALLOWED_TAGS: [
    ..."a b blockquote br code del em h3 h4 h5 h6 hr i img ins kbd li mark ol p pre s span strong sub sup".split(" "),
    ..."table tbody td th thead tr u ul".split(" "),
  ],
  ALLOWED_ATTR: ["align", "alt", "class", "href", "rel", "src", "start", "target", "title"],
  ADD_URI_SAFE_ATTR: ["align", "rel", "start", "target"], // no addresses: the pattern below isn't for them
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|data:image\/(?:png|jpeg|gif|webp);base64,)/i,
  RETURN_DOM_FRAGMENT: true,
};
const LINKS = new Set(["http:", "https:", "mailto:"]);
const PICTURE = /^data:image\/(png|jpeg|gif|webp);base64,[a-z0-9+/=]+$/i;
// Of HTML in an answer only these mean what they say; the rest is shown as it was written, as in "use a <div>".
const HARMLESS = /^<\/?(br|del|ins|kbd|mark|s|sub|sup|u)\s*\/?>$/i;
// A line that opens twenty quotes or lists: nobody can read them nested, and thousands exhaust the parser's stack.
const DEEP = /^ {0,3}(?:(?:>|(?:[-*+]|\d{1,9}[.)])(?=[ \t]))[ \t]*){20}[^\n]*(?:\n[^\n]*\S[^\n]*)*/;
const SEEN_WITHOUT_TEXT = "hr, img, li, td, th";

const marked = new Marked({
  gfm: true,
  breaks: true, // models end lines where they want lines to end
  renderer: {
    html: ({ text, block }) => {
      if (HARMLESS.test(text.trim())) return text;
      return block ? asWritten(text) : lines(text);
    },
    // The page's title is h1, who speaks is h2.
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
    // A foreign picture would tell its host who reads what: a link, to be followed on purpose.
    image({ href, text }) {
      if (PICTURE.test(href)) return `<img src="${href}" alt="${escape(text)}">`;
      return anchor(href, escape(text || href));
    },
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
  extensions: [{ name: "plain", level: "block", tokenizer: tooDeep, renderer: ({ raw }) => asWritten(raw) }],
});

/** The top-level blocks of a text; their `raw` texts together are the text. */
export function blocks(text) {
  return orElse(
    () => marked.lexer(text),
    () => [{ type: "plain", raw: text }],
  );
}

/** Nodes for some of these blocks. What can't be rendered, or would show nothing, is shown as it was written. */
export function render(tokens) {
  const written = tokens.filter(({ type }) => type !== "def").map(({ raw }) => raw).join("");
  return orElse(
    () => {
      const fragment = sanitised(marked.parser(tokens));
      return isSeen(fragment) || !written.trim() ? fragment : sanitised(asWritten(written));
    },
    () => sanitised(asWritten(written)),
  );
}

/** Nodes for a whole text. */
export const renderText = (text) => render(blocks(text));

function sanitised(html) {
  const fragment = DOMPurify.sanitize(html, ALLOWED);
  decorate(fragment);
  return fragment;
}

const isSeen = (fragment) => fragment.textContent.trim() !== "" || fragment.querySelector(SEEN_WITHOUT_TEXT) !== null;

/** A text that brings the parser down must not bring the page down. */
function orElse(make, instead) {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof RangeError)) reportError(error); // the stack's end is the text's fault, all else is ours
    return instead();
  }
}

function tooDeep(text) {
  const raw = DEEP.exec(text)?.[0];
  return raw && { type: "plain", raw };
}

const asWritten = (text) => `<p>${lines(text)}</p>`;

const lines = (text) => escape(text.trim()).replaceAll("\n", "<br>");

/** Nodes for HTML that a library made, such as highlighted code. */
export const clean = (html) => DOMPurify.sanitize(html, ALLOWED);

/** A link whose title is its address, not what the answer says of it. */
function anchor(href, inner) {
  const url = URL.canParse(href) ? new URL(href) : null;
  if (!url || !LINKS.has(url.protocol)) return inner; // javascript:, data:, or an address within our own site
  const address = escape(url.href);
  return `<a href="${address}" title="${address}" target="_blank" rel="noopener noreferrer nofollow">${inner}</a>`;
}

function escape(text) {
  const entities = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (character) => entities[character]);
}
