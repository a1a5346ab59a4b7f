// The client that a test drives in the page, and records of what it reports.
import { ChatClient } from "/web/client.js";

window.record = { statuses: [], transports: [], answers: [], followed: [], expired: [] };

window.begin = ({ baseUrl, token, transport }) => {
  window.token = token; // the next token from the site's sign-in; a test may change it
  window.chat = new ChatClient({
    baseUrl,
    transport,
    token: async ({ expired }) => {
      window.record.expired.push(expired);
      if (window.isSignInAway) throw new TypeError("Failed to fetch");
      return window.token;
    },
  });
  window.chat.addEventListener("status", ({ detail }) => window.record.statuses.push(detail));
  window.chat.addEventListener("transport", ({ detail }) => window.record.transports.push(detail));
};

/** Start to read an answer. Returns its number. */
window.read = (answer) => {
  const seen = { answer, events: [], ended: false, error: null };
  window.record.answers.push(seen);
  (async () => {
    try {
      for await (const event of answer) seen.events.push(event);
    } catch ({ name, code, status, message, detail, retryAfter, generationId }) {
      seen.error = { name, code, status, message, detail, retryAfter, generationId };
    }
    seen.ended = true;
  })();
  return window.record.answers.length - 1;
};

window.stay = (conversationId, options) => {
  window.following = window.chat.follow(conversationId, options);
  (async () => {
    for await (const answer of window.following) window.record.followed.push(window.read(answer));
    window.record.followed.push(null);
  })();
};
