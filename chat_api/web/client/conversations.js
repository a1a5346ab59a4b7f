// The requests for conversations and models, by their names in ChatClient.

import { conversationPath, query } from "./address.js";

/** @param {import("./requests.js").Requests} requests */
export function conversationsOf(requests) {
  const one = (/** @type {string} */ conversationId, more = "") => conversationPath({ conversationId }, more);
  return Object.freeze({
    /** One page, newest first. @param {{limit?: number, cursor?: string | null}} [page] */
    list: ({ limit, cursor } = {}) => requests.json("GET", `api/conversations${query({ limit, cursor })}`),
    /** @param {{title?: string, model_tag?: string}} [fields] */
    create: (fields = {}) => requests.json("POST", "api/conversations", fields),
    /** A conversation with its messages and its running generation. @param {string} id */
    get: (id) => requests.json("GET", one(id)),
    /**
     * What is left out stays. @param {string} id @param {import("./client.js").ConversationUpdate} fields
     *   `version`: the one that the caller knows. If it is another one by now, nothing changes (412).
     */
    update: (id, { version, ...fields }) =>
      requests.json("PUT", one(id), fields, version === undefined ? {} : { "If-Match": `"${version}"` }),
    /** Show another version of a message, and what comes after it. @param {string} id @param {string} messageId */
    switchTo: (id, messageId) => requests.json("PUT", one(id), { active_message_id: messageId }),
    /** Delete a message and all that comes after it. @param {string} id @param {string} messageId */
    takeBack: (id, messageId) =>
      requests.json("DELETE", one(id, `/messages/${encodeURIComponent(messageId)}`)),
    /**
     * Copy a message, and all that it comes after, into a new conversation.
     * @param {string} id @param {string} messageId
     */
    fork: (id, messageId) => requests.json("POST", one(id, "/fork"), { message_id: messageId }),
    /** @param {string} id */
    delete: (id) => requests.json("DELETE", one(id)),
  });
}

/** @param {import("./requests.js").Requests} requests */
export function modelsOf(requests) {
  return Object.freeze({
    list: () => requests.json("GET", "api/models"),
    /** For administrators. @param {string} tag */
    swap: (tag) => requests.json("POST", "api/models/swap", { model_tag: tag }),
  });
}
