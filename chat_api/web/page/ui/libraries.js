// The page's libraries. Only this file names their versions.

export { Marked } from "../../vendor/marked-18.2.1.js";
export { default as DOMPurify } from "../../vendor/dompurify-3.4.18.js";

/** highlight.js, the largest file. It is fetched when the first code is shown. */
export const highlighter = async () => (await import("../../vendor/highlight-11.12.0.js")).default;
