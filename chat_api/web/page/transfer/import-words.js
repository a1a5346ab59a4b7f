// What the reader is told of an import.

/** Where each product has its export, by the product's name. */
export const SOURCES = {
  samosaChaat: "Settings → Export all my conversations: a .jsonl file",
  ChatGPT: "Settings → Data controls → Export data; a link comes by e-mail: the .zip, or conversations.json in it",
  Claude: "Settings → Privacy → Export data; a link comes by e-mail: the .zip, or conversations.json in it",
  "Open WebUI": "Settings → Data controls (or Chats) → Export chats: a .json file",
  LibreChat: "the menu of a conversation → Export, as json: a file for each conversation",
};

export const ABOUT =
  "Bring in what you exported from one of these. Conversations that are here stay as they are, and a file that is " +
  "imported twice adds nothing twice.";

export const CANCELLED = "The import was cancelled. What was taken until then is in your list.";

export const PROBLEMS = "What wasn't taken, or not as it was";

const BROKEN =
  "The connection broke off. What was taken until then is in your list. Import the same file again to add the rest: " +
  "nothing comes twice.";

/** @param {import("../../client.js").ImportReport} report */
export function summary({ conversations, messages }) {
  const { added, there, left_out } = conversations;
  const sentences = [
    `${count(added, "conversation")} with ${count(messages.added, "message")} ${added === 1 ? "was" : "were"} added.`,
    there && `${count(there, "conversation")} ${there === 1 ? "was" : "were"} here already.`,
    left_out && `${count(left_out, "conversation")} couldn't be taken.`,
    messages.left_out && `${count(messages.left_out, "message")} ${messages.left_out === 1 ? "was" : "were"} left out.`,
  ];
  return sentences.filter(Boolean).join(" ");
}

/** Why an import ended without a report. @param {any} error */
export const failure = (error) => (error.code === "network_error" ? BROKEN : error.message);

/** @param {number} number @param {string} noun */
export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
