// Waiting for the network to come back.

const RETRY_MS = 3000; // if the browser says there is a network, but the service can't be reached

/** Whether something failed because the service can't be reached. */
export const isUnreachable = (error) => error.code === "network_error";

/** Whether the same request may succeed soon. */
export const mayPass = ({ status }) => status === 0 || status === 429 || status >= 500;

/**
 * Resolves when it is worth trying again, or when `signal` is aborted.
 *
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export function networkIsBack(signal) {
  return new Promise((resolve) => {
    const listening = new AbortController();
    const end = () => {
      clearTimeout(timer);
      listening.abort();
      resolve();
    };
    const timer = navigator.onLine ? setTimeout(end, RETRY_MS) : 0;
    addEventListener("online", end, { signal: listening.signal });
    signal?.addEventListener("abort", end, { signal: listening.signal });
    if (signal?.aborted) end();
  });
}
