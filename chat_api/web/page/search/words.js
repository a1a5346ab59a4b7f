// What a reader types into the search field: words, "phrases" in quotes, and -what may not be there.

const TERM = /(-?)(?:"([^"]*)"?|(\S+))/g;

/** @param {string} typed @returns {{text: string, isWanted: boolean}[]} in lower case */
export function termsOf(typed) {
  const found = [...typed.toLocaleLowerCase().matchAll(TERM)].map(([, not, phrase, word]) => ({
    text: (phrase ?? word).trim(),
    isWanted: !not,
  }));
  return found.filter(({ text }) => text !== "" && text !== "-");
}

/** Whether a title has what was typed. @param {string} typed @returns {(title: string) => boolean} */
export function matcher(typed) {
  const terms = termsOf(typed);
  return (title) => {
    const text = title.toLocaleLowerCase();
    return terms.every((term) => text.includes(term.text) === term.isWanted);
  };
}

/** Whether there is anything to look for: not only what may not be there. @param {string} typed */
export const isSearch = (typed) => termsOf(typed).some(({ isWanted }) => isWanted);
