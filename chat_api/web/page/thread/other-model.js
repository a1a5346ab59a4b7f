// A conversation whose model isn't offered any more: the reader may let the default one answer.

import { shownName } from "../reader/model-name.js";

const CODES = new Set(["model_gone", "forbidden"]);

/** Whether a request was refused because of its conversation's model. @param {any} error */
function isAboutModel({ code, detail }) {
  return CODES.has(code) || (Array.isArray(detail) && detail.some(({ type }) => type === "model_unknown"));
}

/**
 * What the reader is offered after such a refusal: to switch to the default model, and then `again`. Undefined after any
 * other one. `failed` gets the error if the switch fails.
 *
 * @param {any} error
 * @param {import("./thread.js").Thread} thread
 * @param {import("./visit.js").Visit} visit
 * @param {{again: () => void, failed: (error: any) => void}} then
 * @returns {{text: string, act: () => Promise<void>}[] | undefined}
 */
export function otherModel(error, thread, visit, { again, failed }) {
  if (!isAboutModel(error)) return undefined;
  const { id } = visit;
  const act = async () => {
    try {
      if (id === null) thread.modelTag = "";
      else await thread.conversations.update(id, { model_tag: "default" });
    } catch (problem) {
      if (!visit.isPast) failed(problem);
      return;
    }
    thread.changed();
    if (!visit.isPast) again();
  };
  return [{ text: `Answer with ${error.defaultModel ? shownName(error.defaultModel) : "the default model"}`, act }];
}
