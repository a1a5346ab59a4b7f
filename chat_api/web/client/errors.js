/**
 * Something was refused, or failed for good. `code` is stable and for programs, `message` for people.
 *
 * Codes of the server are listed in its README; the client's own: `network_error` (status 0: the server can't be
 * reached), `timeout`, `token_unavailable` (the token callback failed), `answer_gone` (it can't be continued any
 * more: load the conversation), `http_<status>` (what answered is not the service, but a proxy before it).
 */
export class ChatError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{status?: number, detail?: unknown, retryAfter?: number | null, generationId?: string | null,
   *          cause?: unknown}} [more]
   */
  constructor(code, message, { status = 0, detail = message, retryAfter = null, generationId = null, cause } = {}) {
    super(message, { cause });
    this.name = "ChatError";
    this.code = code;
    this.status = status; // 0: no HTTP status came
    this.detail = detail; // of a 422: the list of fields and what is wrong with them
    this.retryAfter = retryAfter; // seconds; null: the server didn't say
    this.generationId = generationId; // of a 409: the answer that is in the way
  }
}

/** Whether the same request may do better in a while. */
export function isPassing(error, hasBegun) {
  if (!(error instanceof ChatError)) return false;
  if (error.code === "token_unavailable") return error.cause instanceof TypeError; // as fetch raises without a network
  if (["network_error", "timeout"].includes(error.code) || [502, 503, 504].includes(error.status)) return true;
  return hasBegun && [408, 429, 500].includes(error.status);
}

export async function refusal(response) {
  const { status } = response;
  const retry_after = Number(response.headers.get("Retry-After")) || null;
  let body = null;
  try {
    body = await response.json();
  } catch {
    // a proxy's page, or nothing
  }
  if (typeof body?.code === "string") return refused({ status, retry_after, ...body });
  return foreign(response, retry_after);
}

/** What answered is something before the service. */
export function foreign({ status }, retryAfter = null) {
  return new ChatError(`http_${status}`, `The service can't be reached: ${status}.`, { status, retryAfter });
}

export function refused({ code, detail, status, retry_after, generation_id = null }) {
  const more = { status, detail, retryAfter: retry_after, generationId: generation_id };
  return new ChatError(code, sentence(detail), more);
}

export function signedOut() {
  return new ChatError("invalid_token", "Your session has ended: sign in again.", { status: 401 });
}

function sentence(detail) {
  if (!Array.isArray(detail)) return String(detail);
  return detail.map(complaint).join(" ");
}

/** What is wrong with a field, for who filled it in: the validator's words are for programmers. */
function complaint({ type, loc = [], msg }) {
  const name = (loc.filter((part) => part !== "body").join(" ") || "request").replaceAll("_", " ");
  const most = /at most (\d+)/.exec(msg)?.[1];
  if (/too_long$/.test(type) && most) return `The ${name} is too long: at most ${most} characters.`;
  if (/too_short$/.test(type)) return `The ${name} is empty.`;
  if (type === "missing") return `The ${name} is missing.`;
  return `${name}: ${String(msg).replace(/^Value error, /, "")}.`;
}

export function broken(what, cause) {
  return new ChatError("network_error", `Trouble with the network: ${what}.`, { cause });
}

export function gone() {
  return new ChatError("answer_gone", "This answer can't be continued any more: load the conversation again.");
}
