/**
 * A request was refused, or it failed for good. `code` is stable and for programs, `message` is for people.
 *
 * docs/api.md lists the server's codes. The client adds its own: `network_error` (the service can't be reached),
 * `timeout`, `token_unavailable` (the token function failed), `answer_gone` (the answer can't be continued: load the
 * conversation) and `http_<status>` (the response came from a proxy, not from the service).
 */
export class ChatError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{status?: number, detail?: unknown, retryAfter?: number | null, generationId?: string | null,
   *          defaultModel?: string | null, cause?: unknown}} [more]
   */
  constructor(code, message, more = {}) {
    const { status = 0, detail = message, retryAfter = null, generationId = null, defaultModel = null, cause } = more;
    super(message, { cause });
    this.name = "ChatError";
    this.code = code;
    this.status = status; // 0: there was no HTTP response
    this.detail = detail; // for a 422: the list of fields and what is wrong with each
    this.retryAfter = retryAfter; // seconds; null: the server didn't say
    this.generationId = generationId; // for `generation_running`: the answer that is running already
    this.defaultModel = defaultModel; // for `model_gone`: the model that answers by default
  }
}

/** Whether the same request may succeed later. `hasBegun`: events of its answer have been read. */
export function isTransient(error, hasBegun) {
  if (!(error instanceof ChatError)) return false;
  if (error.code === "token_unavailable") return error.cause instanceof TypeError; // fetch failed: no network
  if (["network_error", "timeout"].includes(error.code) || [502, 503, 504].includes(error.status)) return true;
  return hasBegun && [408, 429, 500].includes(error.status);
}

/** The error of a response that isn't a success. */
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

/** The response came from something in front of the service. */
export function foreign({ status }, retryAfter = null) {
  return new ChatError(`http_${status}`, `The service can't be reached (HTTP ${status}).`, { status, retryAfter });
}

/** The service's own error. */
export function refused({ code, detail, status, retry_after, generation_id = null, default_model = null }) {
  const more = { status, detail, retryAfter: retry_after, generationId: generation_id, defaultModel: default_model };
  return new ChatError(code, sentence(detail), more);
}

/** The error of an `error` event: why an answer failed. */
export function failed({ error, detail, retry_after = null }) {
  return new ChatError(error, detail, { retryAfter: retry_after });
}

export function signedOut() {
  return new ChatError("invalid_token", "Your session has ended. Sign in again.", { status: 401 });
}

function sentence(detail) {
  if (!Array.isArray(detail)) return String(detail);
  return detail.map(complaint).join(" ");
}

/** What is wrong with a field, for the person who filled it in. The validator's words are for programmers. */
function complaint({ type, loc = [], msg }) {
  const name = (loc.filter((part) => part !== "body").join(" ") || "request").replaceAll("_", " ");
  const most = /at most (\d+)/.exec(msg)?.[1];
  if (/too_long$/.test(type) && most) return `The ${name} is too long: at most ${most} characters.`;
  if (/too_short$/.test(type)) return `The ${name} is empty.`;
  if (type === "model_unknown") return "This model isn't offered.";
  if (type === "missing") return `The ${name} is missing.`;
  return `${name}: ${String(msg).replace(/^Value error, /, "")}.`;
}

/** The connection failed. @param {string} what a clause that says how @param {unknown} [cause] */
export function broken(what, cause) {
  return new ChatError("network_error", `Network error: ${what}.`, { cause });
}

/** The server no longer has the answer's events. */
export function gone() {
  return new ChatError("answer_gone", "This answer can no longer be continued. Load the conversation again.");
}
