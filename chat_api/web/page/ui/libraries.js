// Which versions the page runs on: the one place that names them.

export { Marked } from "../../vendor/marked-18.2.1.js";
export { default as DOMPurify } from "../../vendor/dompurify-3.4.18.js";

/** highlight.js, fetched when the first code is seen: it is the largest file of all. */
export const highlighter = async () => (await import("../../vendor/highlight-11.12.0.js")).default;
