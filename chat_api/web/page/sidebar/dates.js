// The sidebar's sections, by days of the reader's time zone, not UTC.

const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * Conversations, newest first, by the names of their sections: favourites, today, yesterday, then larger periods.
 *
 * @param {{updated_at: string, is_favorited: boolean}[]} conversations
 * @param {Date} [now]
 * @returns {Map<string, any[]>}
 */
export function sections(conversations, now = new Date()) {
  const found = new Map();
  const favourites = conversations.filter((each) => each.is_favorited);
  if (favourites.length) found.set("Favourites", favourites);
  for (const conversation of conversations) {
    if (conversation.is_favorited) continue;
    const name = sectionOf(new Date(conversation.updated_at), now);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(conversation);
  }
  return found;
}

function sectionOf(date, now) {
  // Rounded, because a day has 23 or 25 hours where the clocks change.
  const days = Math.round((midnight(now) - midnight(date)) / DAY_MS);
  if (days <= 0) return "Today"; // a slow clock could put it in tomorrow
  if (days === 1) return "Yesterday";
  if (days <= 7) return "Previous 7 days";
  if (days <= 30) return "Previous 30 days";
  const sameYear = date.getFullYear() === now.getFullYear();
  return sameYear ? date.toLocaleDateString("en", { month: "long" }) : String(date.getFullYear());
}

function midnight(date) {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}
