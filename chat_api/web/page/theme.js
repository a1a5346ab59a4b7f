// Runs before the first paint, so that no page flashes white in a dark room; main.js comes too late for that.
"use strict";
{
  let theme = null;
  try {
    theme = localStorage.getItem("chat.theme");
  } catch {
    // storage is blocked: the system's theme it is
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
