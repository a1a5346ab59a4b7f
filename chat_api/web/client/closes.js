export const UNAUTHENTICATED = 4401; // the server's close code
export const ORIGIN_REFUSED = 1008; // the server's close code
export const BROKEN_OFF = 1006; // the browser's close code: the upgrade was refused, or the network broke
export const HUNG = "hung"; // closed by this client: nothing came in time
export const REFUSED = "refused"; // closed by this client: it is no longer wanted, or no longer of use
