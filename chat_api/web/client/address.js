/** The path of a conversation, or of what is below it. */
export function conversationPath({ conversationId }, more = "") {
  return `api/conversations/${encodeURIComponent(conversationId)}${more}`;
}

/** The query string for these fields; undefined and null are left out. */
export function query(fields) {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
}

/**
 * Where `api/` is, beside the folder that the service serves this client from.
 *
 * @param {string | undefined} address of client.js; undefined in some bundles
 * @returns {string} Throws a TypeError if client.js comes from elsewhere.
 */
export function serviceOf(address) {
  const service = /^(https?:.*\/)web\/client\.js(?:[?#]|$)/.exec(address ?? "")?.[1];
  if (service) return service;
  const example = 'new ChatClient({ baseUrl: "https://chat.example.org/", … })';
  throw new TypeError(`ChatClient needs the service's address, because it wasn't loaded from the service: ${example}`);
}

/** A new idempotency key. */
export function newKey() {
  // Not crypto.randomUUID: only secure contexts have it, and a page may be served over plain HTTP in a local network.
  const bytes = globalThis.crypto?.getRandomValues(new Uint8Array(16)) ?? withoutCrypto(16);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Node 18 has no global `crypto`. A key has to be unique, not secret. */
const withoutCrypto = (count) => Array.from({ length: count }, () => Math.floor(Math.random() * 256));
