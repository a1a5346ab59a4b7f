// Runs before the first paint, so that a dark page doesn't flash white. main.js runs too late for that.
"use strict";
{
  let theme = null;
  try {
    theme = localStorage.getItem("chat.theme");
  } catch {
    // storage is blocked: the system's theme is used
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
