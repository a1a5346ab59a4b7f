// Making elements. Text is set as text, never as HTML: only sanitise.js turns HTML into elements.

import { icon } from "./icons.js";

/**
 * An element. `props`: `class`, `text`, `icon` (a name of icons.js), `on` (listeners by event), anything else is an
 * attribute, which false, null and undefined leave out.
 *
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...(Node | string | undefined | null | false)} children
 */
export function h(tag, { class: names, text, icon: picture, on = {}, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (names) element.className = names;
  if (picture) element.append(icon(picture));
  if (text !== undefined) element.append(text);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  for (const [type, listener] of Object.entries(on)) element.addEventListener(type, listener);
  element.append(...children.filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** A button with an icon. Its name is read aloud and shown on hover. */
export function iconButton(picture, name, click, props = {}) {
  return h("button", {
    type: "button",
    class: "icon-button",
    icon: picture,
    "aria-label": name,
    title: name,
    on: { click },
    ...props,
  });
}

/** The element of index.html with this id. */
export function find(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no #${id}`);
  return element;
}

/** Draw the icons that index.html asks for by `data-icon`. */
export function drawIcons() {
  for (const element of document.querySelectorAll("[data-icon]")) element.prepend(icon(element.dataset.icon));
}
