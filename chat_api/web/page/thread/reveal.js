// Going to a message that was found.

import { openDialog } from "../ui/dialogs.js";
import { h } from "../ui/dom.js";

const LONGEST_MS = 10_000;
const STILL_FRAMES = 90;
const MARKED_MS = 2500;
const TOUCHED = ["wheel", "touchstart", "keydown", "pointerdown"];

/**
 * Scroll to a message and mark it for a moment. What is above it is drawn and measured only when it comes near, and moves
 * it: so go there again until it stands still, or until the reader goes elsewhere.
 *
 * @param {{element: HTMLElement}} view @param {import("./follow.js").Follow} follow
 */
export async function reveal(view, follow) {
  const { element } = view;
  const listening = new AbortController();
  const stop = () => listening.abort();
  for (const type of TOUCHED) addEventListener(type, stop, { signal: listening.signal, passive: true, capture: true });
  follow.stay();
  element.tabIndex = -1;
  element.focus({ preventScroll: true });
  mark(element);
  const until = performance.now() + LONGEST_MS;
  for (let still = 0, before = NaN; still < STILL_FRAMES && performance.now() < until && !listening.signal.aborted; ) {
    follow.stay();
    element.scrollIntoView({ block: "start", behavior: "instant" });
    await new Promise(requestAnimationFrame);
    const { top } = element.getBoundingClientRect();
    still = Math.abs(top - before) < 1 ? still + 1 : 0;
    before = top;
  }
  stop();
}

function mark(element) {
  element.classList.add("found");
  setTimeout(() => element.classList.remove("found"), MARKED_MS);
}

/** The question before another version becomes the one that is shown. @param {() => void} change */
export function confirmSwitch(change) {
  const act = () => {
    dialog.close();
    change();
  };
  const dialog = openDialog("In another version", [
    h("p", {
      text:
        "This message stands in a version of the conversation that isn't shown now. To go to it, that version becomes " +
        "the current one, also on your other devices. The one that is shown now stays beside it.",
    }),
    h(
      "div",
      { class: "dialog-row" },
      h("button", { type: "button", class: "secondary", text: "Cancel", on: { click: () => dialog.close() } }),
      h("button", { type: "button", class: "primary", text: "Show that version", on: { click: act } }),
    ),
  ]);
  dialog.querySelector(".primary").focus();
}
