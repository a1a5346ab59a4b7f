export function conversationPath({ conversationId }, more = "") {
  return `api/conversations/${encodeURIComponent(conversationId)}${more}`;
}

export function query(fields) {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
}

export function newKey() {
  // randomUUID is there in secure contexts only, and a page may be served over plain HTTP in a local network.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
