// What a message may be, and how a reader writes one.

const LONGEST = 8000; // characters, as the service counts them
export const WARN_FROM = 7000;

/** How many characters too long a text is; negative: how many are left. */
export function excess(text) {
  const trimmed = text.trim();
  return (trimmed.length < WARN_FROM ? trimmed.length : Array.from(trimmed).length) - LONGEST;
}

/** Whether nothing of the text would be visible: spaces, zero-width characters, joiners with nothing to join. */
export const isBlank = (text) => !/[^\s\p{Default_Ignorable_Code_Point}\p{Cf}\p{Cc}\u2800]/u.test(text);

/** Whether Enter starts a new line: Shift is hard to reach, and there is a button to send. */
export const isOnPhone = () => matchMedia("(hover: none) and (pointer: coarse)").matches;

/** Make a field as high as its text, up to the style sheet's limit. */
export function grow(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}
