// What an answer's view says beside the answer, in words.

import { shownName } from "../reader/model-name.js";

const LONGEST_STATUS = 80; // characters

/** The model, and what the answer took. */
export function madeBy({ model_tag: model, token_count: tokens, inference_time_ms: milliseconds }) {
  const known = [
    model && model !== "default" ? shownName(model) : "",
    tokens ? `${tokens} ${tokens === 1 ? "token" : "tokens"}` : "",
    milliseconds ? `${milliseconds < 1000 ? `${milliseconds} ms` : `${(milliseconds / 1000).toFixed(1)} s`}` : "",
  ];
  return known.filter(Boolean).join(" · ");
}

/** What the model server does meanwhile, such as "searching"; "" if that isn't a text. */
export function doing(status) {
  if (typeof status !== "string" || !status.trim()) return "";
  const [first, ...rest] = status.trim().slice(0, LONGEST_STATUS);
  return `${first.toUpperCase()}${rest.join("")}…`;
}

/** @param {number} count of the earlier messages that the model doesn't know */
export function notSent(count) {
  const messages = count === 1 ? "1 earlier message was" : `${count.toLocaleString("en")} earlier messages were`;
  return `${messages} not sent to the model.`;
}
