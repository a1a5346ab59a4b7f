// Where a download goes: straight into a file that the reader chose, or, where a browser can't do that, through memory into
// its downloads. A file that isn't whole isn't left behind.

import { h } from "../ui/dom.js";

/**
 * Let the reader choose a file. To be called right after a click.
 *
 * @param {string} name the one that is suggested
 * @returns {Promise<{write: (bytes: Uint8Array) => any, done: () => Promise<void>, drop: () => Promise<void>} | null>}
 *   null: the reader wants none
 */
export async function chooseFile(name) {
  if (!("showSaveFilePicker" in window)) return inDownloads(name);
  let handle;
  try {
    handle = await /** @type {any} */ (window).showSaveFilePicker({ suggestedName: name });
  } catch (error) {
    if (error.name === "AbortError") return null;
    return inDownloads(name); // not allowed here, as in another site's frame
  }
  const file = await handle.createWritable();
  return {
    write: (bytes) => file.write(bytes),
    done: () => file.close(),
    drop: async () => {
      await file.abort();
      await handle.remove?.(); // it is empty
    },
  };
}

/** @param {string} name */
export function inDownloads(name) {
  const pieces = [];
  return {
    write: (bytes) => void pieces.push(bytes),
    done: async () => {
      const url = URL.createObjectURL(new Blob(pieces));
      const link = h("a", { href: url, download: name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser reads it meanwhile
    },
    drop: async () => {},
  };
}
