// The requests for all of a user's conversations at once, by their names in ChatClient.

import { conversationPath, query } from "./address.js";
import { Download, bytesOf } from "./download.js";
import { broken, refused } from "./errors.js";
import { upload } from "./upload.js";

/**
 * Find conversations by their titles and by what was said in them: titles first, then the newest. The hits in a snippet
 * stand between « and ».
 * @param {import("./requests.js").Requests} requests
 */
export function searchOf(requests) {
  return (/** @type {string} */ q, { limit, cursor, signal } = /** @type {import("./client.js").SearchOptions} */ ({})) =>
    abortable(signal, requests.json("GET", `api/search${query({ q, limit, cursor })}`, null, {}, signal));
}

/** A file with all conversations, as JSON Lines. @param {import("./requests.js").Requests} requests */
export function exportOf(requests) {
  return ({ signal } = /** @type {{signal?: AbortSignal}} */ ({})) => download(requests, "api/export", signal);
}

/** A file with one conversation. @param {import("./requests.js").Requests} requests */
export function exportOneOf(requests) {
  return (/** @type {string} */ id, { format, signal } = /** @type {import("./client.js").ExportOptions} */ ({})) =>
    download(requests, conversationPath({ conversationId: id }, `/export${query({ format })}`), signal);
}

/**
 * Bring in the conversations of a file: this service's export, or another product's. Twice is the same as once.
 * @param {import("./requests.js").Requests} requests
 */
export function importOf(requests) {
  return (/** @type {any} */ file, { onProgress, signal } = /** @type {import("./client.js").ImportOptions} */ ({})) =>
    abortable(signal, bringIn(requests, file, onProgress, signal));
}

async function download(requests, path, signal) {
  return new Download(await abortable(signal, requests.fetch("GET", path, { signal })), signal);
}

async function bringIn(requests, file, onProgress, signal) {
  const headers = { Accept: "application/x-ndjson", "Content-Type": "application/octet-stream" };
  const sent = (bytes, size) => onProgress({ phase: "upload", percent: size ? (100 * bytes) / size : 100, conversations: 0 });
  const by = onProgress && globalThis.XMLHttpRequest && ((url, request) => upload(url, request, sent));
  const response = await requests.fetch("POST", "api/import", { file, headers, signal, by });
  for await (const { progress, report, error } of linesOf(response)) {
    if (progress) onProgress?.({ phase: "import", percent: progress.percent, conversations: total(progress.conversations) });
    else if (report) return report;
    else if (error) throw refused({ status: response.status, ...error });
  }
  throw broken("the response broke off");
}

/** How many conversations were read, whatever became of them. */
const total = ({ added, there, left_out }) => added + there + left_out;

/** The objects of a response in JSON Lines. */
async function* linesOf(response) {
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of bytesOf(response)) {
    const lines = (text + decoder.decode(bytes, { stream: true })).split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) if (line.trim()) yield parsed(line);
  }
  if (text.trim()) yield parsed(text);
}

function parsed(line) {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw broken("the response broke off", error);
  }
}

/** What `doing` resolves to. Once the caller's signal is aborted, rejects with its reason, as fetch does. */
async function abortable(signal, doing) {
  try {
    return await doing;
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  }
}
