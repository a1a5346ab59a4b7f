export const UNAUTHENTICATED = 4401; // close codes of the server
export const ORIGIN_REFUSED = 1008;
export const BROKEN_OFF = 1006; // the browser's: it was refused, or the network broke
export const HUNG = "hung"; // and of this side
export const REFUSED = "refused";
