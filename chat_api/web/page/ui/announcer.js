// What a screen reader announces: that an answer begins, then the whole answer. Not each token.

import { find } from "./dom.js";

const READ_WHOLE = 600; // characters; for a longer answer, only its length is announced

/** @param {string} text */
export function announce(text) {
  const place = find("announcer");
  place.textContent = ""; // so that the same words twice are a change, too
  requestAnimationFrame(() => (place.textContent = text));
}

/** @param {string} text the answer as it is shown @param {string} ending why it ended, if not normally */
export function announceAnswer(text, ending) {
  const words = text.split(/\s+/).filter(Boolean).length;
  const said = text.length <= READ_WHOLE ? text : `The answer is complete: ${words} words.`;
  announce(ending ? `${said} ${ending}` : said);
}
