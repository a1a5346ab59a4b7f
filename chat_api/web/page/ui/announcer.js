// What a screen reader announces: that an answer begins, and then the whole answer, but not each token.

import { find } from "./dom.js";

const READ_WHOLE = 600; // characters; for a longer answer, only its length is announced

/** @param {string} text */
export function announce(text) {
  const place = find("announcer");
  place.textContent = ""; // so that the same text twice counts as a change
  requestAnimationFrame(() => (place.textContent = text));
}

/** @param {string} text the answer as it is shown @param {string} ending why it ended, if not normally */
export function announceAnswer(text, ending) {
  const words = text.split(/\s+/).filter(Boolean).length;
  const said = text.length <= READ_WHOLE ? text : `The answer is complete: ${words} words.`;
  announce(ending ? `${said} ${ending}` : said);
}
