/** An event with a `detail`. Node 18 has no global CustomEvent. @param {string} type @param {any} detail */
export function customEvent(type, detail) {
  if (globalThis.CustomEvent) return new CustomEvent(type, { detail });
  return Object.assign(new Event(type), { detail });
}
