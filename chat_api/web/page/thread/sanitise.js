// HTML to nodes, by DOMPurify. It happens only here: the page's policy (Trusted Types) allows nothing else to do it.

import { DOMPurify } from "../ui/libraries.js";

const ALLOWED = {
  ALLOWED_TAGS: [
    ..."a b blockquote br code del em h3 h4 h5 h6 hr i img ins kbd li mark ol p pre s span strong sub sup".split(" "),
    ..."table tbody td th thead tr u ul".split(" "),
  ],
  ALLOWED_ATTR: ["align", "alt", "class", "href", "rel", "src", "start", "target", "title"],
  ADD_URI_SAFE_ATTR: ["align", "rel", "start", "target"], // these aren't addresses, so the pattern below doesn't apply
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|data:image\/(?:png|jpeg|gif|webp);base64,)/i,
  RETURN_DOM_FRAGMENT: true,
};

/** Safe nodes for HTML that a library made from untrusted text. @param {string} html @returns {DocumentFragment} */
export const sanitise = (html) => DOMPurify.sanitize(html, ALLOWED);
