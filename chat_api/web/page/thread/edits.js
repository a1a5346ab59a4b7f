// Edits of questions that aren't sent yet. Each survives a reload, and a refusal.

import { passing } from "../reader/preferences.js";

/** @param {string} id the question's */
const place = (id) => `edit.${id}`;

/** The text of the unsent edit of a question; null: there is none. */
export const keptEdit = (id) => passing.get(place(id));

export const keepEdit = (id, text) => passing.set(place(id), text);

export const dropEdit = (id) => passing.set(place(id), null);
