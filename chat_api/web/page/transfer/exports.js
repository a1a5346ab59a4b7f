// Downloads of one conversation, or of all, with a notice that tells how far it is and lets the reader cancel.

import { ChatError } from "../../client.js";
import { h } from "../ui/dom.js";
import { announce } from "../ui/announcer.js";
import { toast } from "../ui/toast.js";
import { askBeforeLeaving } from "./leaving.js";
import { chooseFile, inDownloads } from "./save.js";
import { sizeOf } from "./sizes.js";

const ENDINGS = { markdown: "md", json: "json" };
const LONGEST_NAME = 80;
const END = /\n\{"type":"end",[^\n]*\}\n$/; // the last line of an export: without it, it isn't whole
const LONGEST_END = 1000; // bytes
const UNSAFE = /[\p{C}/\\:*?"<>|]+/gu; // in the name of a file

/** @param {import("../../client.js").ChatClient} chat @param {{id: string, title: string, format: "markdown" | "json"}} wanted */
export async function downloadOne(chat, { id, title, format }) {
  const name = `${fileName(title)}.${ENDINGS[format]}`;
  await save(inDownloads(name), "The conversation", (signal) => chat.conversations.export(id, { format, signal }));
}

/** @param {import("../../client.js").ChatClient} chat */
export async function exportAll(chat) {
  const place = await chooseFile(`samosachaat-${new Date().toISOString().slice(0, 10)}.jsonl`);
  if (place) await save(place, "The export", async (signal) => whole(await chat.export({ signal })));
}

async function save(place, what, begin) {
  const cancelling = new AbortController();
  const figure = h("span", { "aria-hidden": "true" }); // a screen reader hears the beginning and the end
  const notice = toast([`${what} is being downloaded. `, figure], {
    action: "Cancel",
    act: () => cancelling.abort(),
    seconds: null,
  });
  try {
    const bytes = await askBeforeLeaving(write(place, begin, cancelling.signal, (now) => (figure.textContent = sizeOf(now))));
    await place.done();
    notice.close();
    toast(`${what} was saved: ${sizeOf(bytes)}.`);
  } catch (error) {
    await place.drop();
    notice.close();
    if (cancelling.signal.aborted) announce("The download was cancelled.");
    else if (error.code === "network_error") toast("The download broke off, so nothing was saved. Try again.", { seconds: 15 });
    else throw error;
  }
}

/** The bytes of an export. Throws if its last line isn't there: something on the way may end a response that was cut. */
async function* whole(file) {
  let tail = new Uint8Array();
  for await (const piece of file) {
    tail = new Uint8Array([...tail, ...piece.subarray(-LONGEST_END)]).slice(-LONGEST_END);
    yield piece;
  }
  if (!END.test(new TextDecoder().decode(tail))) throw new ChatError("network_error", "The export has no last line.");
}

/** Write a download to its end. @returns {Promise<number>} its bytes */
async function write(place, begin, signal, onProgress) {
  let bytes = 0;
  for await (const piece of await begin(signal)) {
    await place.write(piece);
    onProgress((bytes += piece.length));
  }
  return bytes;
}

function fileName(title) {
  const name = title.replace(UNSAFE, " ").replace(/\s+/g, " ").trim().replace(/^\.+/, "");
  return Array.from(name).slice(0, LONGEST_NAME).join("").trim() || "conversation";
}
