/**
 * Hooks for React 18 and newer.
 *
 *     const { messages, send, stop, isRunning } = useConversation(chat, id);
 *
 * What they return changes at most once a frame, however fast an answer is written. All components that show the same
 * conversation share what is known of it. An answer goes on at the service when they are unmounted, and is shown from
 * where it is then when they are mounted again.
 */

import { useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import { storesOf } from "./react/stores.js";

/**
 * A conversation: its messages, with the answer that is being written, and what can be done in it.
 *
 * @param {import("./client.js").ChatClient} chat
 * @param {string | null} id null: a new one, which is created when the first message is sent
 * @param {import("./react.js").ConversationSettings} [settings] for all of its questions
 * @returns {import("./react.js").ConversationView}
 */
export function useConversation(chat, id, settings = {}) {
  const store = useMemo(() => storesOf(chat).conversation(id), [chat, id]);
  const snapshot = useStore(store);
  const latest = useLatest(settings);
  const actions = useMemo(() => {
    const merged = (/** @type {any} */ options) => ({ ...latest.current, ...options });
    return {
      send: (/** @type {string} */ content, /** @type {any} */ options) => store.send(content, merged(options)),
      edit: (/** @type {string} */ messageId, /** @type {string} */ content, /** @type {any} */ options) =>
        store.edit(messageId, content, merged(options)),
      regenerate: (/** @type {string} */ messageId, /** @type {any} */ options) =>
        store.again("regenerate", messageId, merged(options)),
      goOn: (/** @type {string} */ messageId, /** @type {any} */ options) =>
        store.again("goOn", messageId, merged(options)),
      sendResults: (/** @type {any[]} */ results, /** @type {any} */ options) =>
        store.sendResults(results, merged(options)),
      retry: (/** @type {string} */ key) => store.retry(key),
      discard: (/** @type {string} */ key) => store.discard(key),
      stop: (/** @type {any} */ options) => store.stop(options),
      switchTo: (/** @type {string} */ messageId) => store.change("switchTo", messageId),
      takeBack: (/** @type {string} */ messageId) => store.change("takeBack", messageId),
      update: (/** @type {any} */ fields) => store.change("update", fields),
      reload: () => store.load(),
    };
  }, [store, latest]);
  return useMemo(() => ({ ...snapshot, ...actions }), [snapshot, actions]);
}

/**
 * The user's conversations, the newest first.
 *
 * @param {import("./client.js").ChatClient} chat
 * @returns {import("./react.js").ConversationsView}
 */
export function useConversations(chat) {
  const store = useMemo(() => storesOf(chat).list, [chat]);
  const snapshot = useStore(store);
  const actions = useMemo(
    () => ({
      loadMore: () => store.more(),
      update: (/** @type {string} */ id, /** @type {any} */ fields) => store.update(id, fields),
      remove: (/** @type {string} */ id) => store.remove(id),
      reload: () => store.load(),
    }),
    [store],
  );
  return useMemo(() => ({ ...snapshot, ...actions }), [snapshot, actions]);
}

/** @param {any} store @returns {any} */
function useStore(store) {
  return useSyncExternalStore(store.subscribe, store.snapshot, store.snapshot);
}

/** What a component was last rendered with, for what is called later. @param {any} value */
function useLatest(value) {
  const latest = useRef(value);
  useEffect(() => {
    latest.current = value;
  });
  return latest;
}
