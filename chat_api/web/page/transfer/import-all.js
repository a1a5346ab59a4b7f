// Several files, one after the other: some products give a file for each conversation.

import { failure } from "./import-words.js";

const LISTED = 100; // problems: more are only counted
// Errors of one file. The service may send them after its response has begun, so their status says nothing.
const OF_THE_FILE = ["import_too_large", "import_unreadable", "http_413"];

/**
 * @param {import("../../client.js").ChatClient} chat
 * @param {File[]} files
 * @param {{onProgress: (progress: any) => void, signal: AbortSignal}} options `onProgress` also gets the file's `number`,
 *   from 1, and how many `files` there are
 * @returns {Promise<import("../../client.js").ImportReport>} of all. Of several files, one that is refused is a problem
 *   in it; everything else that fails is thrown.
 */
export async function importAll(chat, files, { onProgress, signal }) {
  const reports = [];
  for (const [place, file] of files.entries()) {
    const told = (progress) => onProgress({ ...progress, number: place + 1, files: files.length });
    try {
      reports.push(await chat.import(file, { onProgress: told, signal }));
    } catch (error) {
      if (signal.aborted || files.length === 1 || !OF_THE_FILE.includes(error.code)) throw error;
      reports.push(refusalOf(file, error));
    }
  }
  return reports.reduce(together);
}

function refusalOf(file, error) {
  return {
    source: null,
    conversations: { added: 0, there: 0, left_out: 0 },
    messages: { added: 0, left_out: 0 },
    problems: [{ conversation: file.name, why: failure(error) }],
    more_problems: 0,
    is_whole: true,
  };
}

function together(one, other) {
  const problems = [...one.problems, ...other.problems];
  return {
    source: one.source ?? other.source,
    conversations: sums(one.conversations, other.conversations),
    messages: sums(one.messages, other.messages),
    problems: problems.slice(0, LISTED),
    more_problems: one.more_problems + other.more_problems + Math.max(0, problems.length - LISTED),
    is_whole: one.is_whole && other.is_whole,
  };
}

/** @template {Record<string, number>} T @param {T} one @param {T} other @returns {T} */
function sums(one, other) {
  return /** @type {T} */ (Object.fromEntries(Object.entries(one).map(([name, value]) => [name, value + other[name]])));
}
