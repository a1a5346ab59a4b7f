// Waiting for the network, with what can't be done without it.

const AGAIN_MS = 3000; // where the browser thinks that there is a network, but the service can't be reached

/** Whether this failed because the service can't be reached. */
export const isAway = (error) => error.code === "network_error";

/** Until it is worth trying again, or until `signal`. @param {AbortSignal} [signal] @returns {Promise<void>} */
export function networkIsBack(signal) {
  return new Promise((resolve) => {
    const listening = new AbortController();
    const end = () => {
      clearTimeout(timer);
      listening.abort();
      resolve();
    };
    const timer = navigator.onLine ? setTimeout(end, AGAIN_MS) : 0;
    addEventListener("online", end, { signal: listening.signal });
    signal?.addEventListener("abort", end, { signal: listening.signal });
    if (signal?.aborted) end();
  });
}
