// What a screen reader says by itself: that an answer is on its way, then the answer as a whole. Not each token.

import { find } from "./dom.js";

const READ_WHOLE = 600; // characters; a longer answer is read by going there

/** @param {string} text */
export function announce(text) {
  const place = find("announcer");
  place.textContent = ""; // the same words twice are a change too
  requestAnimationFrame(() => (place.textContent = text));
}

/** @param {string} text the answer as it is shown @param {string} ending why it ended, if not in order */
export function announceAnswer(text, ending) {
  const words = text.split(/\s+/).filter(Boolean).length;
  const said = text.length <= READ_WHOLE ? text : `The answer is there, ${words} words.`;
  announce(ending ? `${said} ${ending}` : said);
}
