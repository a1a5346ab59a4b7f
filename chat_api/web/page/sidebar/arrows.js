// The arrow keys in the list: through its conversations and what a search found, and back to the search.

const PLACES = ".row-link, .hit-link, .search-more";

/** What the keys lead to, from above to below. @param {HTMLElement} list @returns {HTMLElement[]} */
export const placesIn = (list) => [...list.querySelectorAll(PLACES)];

/** @param {KeyboardEvent} event @param {HTMLElement} list @param {HTMLInputElement} search */
export function move(event, list, search) {
  const target = /** @type {HTMLElement} */ (event.target);
  const places = placesIn(list);
  const at = places.indexOf(target.closest("li")?.querySelector(PLACES) ?? target);
  if (target.matches("input") || at < 0) return;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (event.key === "Escape" && search.value) search.select();
  else if (step === -1 && at === 0) search.focus();
  else if (step) places[at + step]?.focus();
  else return;
  event.preventDefault();
  event.stopPropagation();
}
