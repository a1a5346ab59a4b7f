// The page's address: `#/` is a new conversation, `#/<id>` an existing one, `#/<id>/<message id>` a message in it.

const NAMED = /^#\/([0-9a-f-]{36})(?:\/([0-9a-f-]{36}))?$/i;

/**
 * What the address names; null: nothing. A message is named once: a reload shows the conversation's end again.
 *
 * @returns {{id: string | null, messageId: string | null}}
 */
export function inAddress() {
  const [, id = null, messageId = null] = NAMED.exec(location.hash) ?? [];
  if (messageId !== null || (id === null && location.hash.length > 2)) history.replaceState(null, "", `#/${id ?? ""}`);
  return { id, messageId };
}

/** @param {string | null} id null: a new conversation */
export function toAddress(id) {
  const address = `#/${id ?? ""}`;
  if (location.hash !== address) history.pushState(null, "", address);
}
