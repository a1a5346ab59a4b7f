// What a reader types into the search field: words, "phrases" in quotes, and -what may not be there.

const TERM = /(-?)(?:"([^"]*)"?|(\S+))/g;

const ACCENTS = /[\u0300-\u036f]/g; // once a letter and its accent stand apart
const NO_WORD = /[^\p{L}\p{M}\p{N}]+/gu;
const SHORT = /(?:^|\s)[^\s"\u0E01-\u{10FFFF}-][^\s"\u0E01-\u{10FFFF}]{0,2}$/u; // beyond these, a character may be a word

/** A text without its case and accents. @param {string} text */
const plain = (text) => text.toLocaleLowerCase().normalize("NFD").replace(ACCENTS, "");
const words = (text) => ` ${text.replace(NO_WORD, " ").trim()} `;

/** @param {string} typed @returns {{text: string, isWanted: boolean}[]} without case and accents */
export function termsOf(typed) {
  const found = [...plain(typed).matchAll(TERM)].map(([, not, phrase, word]) => ({
    text: (phrase ?? word).trim(),
    isWanted: !not,
  }));
  return found.filter(({ text }) => text !== "" && text !== "-");
}

/**
 * Whether a title has what was typed. What is wanted may stand within a word; what isn't is a word, as for the service.
 *
 * @param {string} typed @returns {(title: string) => boolean}
 */
export function matcher(typed) {
  const terms = termsOf(typed);
  return (title) => {
    const text = plain(title);
    return terms.every((term) => (term.isWanted ? text.includes(term.text) : !words(text).includes(words(term.text))));
  };
}

/** Whether there is anything to look for: not only what may not be there. @param {string} typed */
export const isSearch = (typed) => termsOf(typed).some(({ isWanted }) => isWanted);

/** Whether the last word is so short that the service finds it only as a whole. @param {string} typed */
export const endsShort = (typed) => SHORT.test(typed);
