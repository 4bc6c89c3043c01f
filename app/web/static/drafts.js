/** Unsent text, one for each conversation or new chat, kept for the signed-in user only. */

import { userId } from './session.js';

const PREFIX = 'unbroken.draft.';

const key = (place) => `${PREFIX}${place}`;

/** The unsent text of a place, or ''. */
export function load(place) {
  return userId() ? (localStorage.getItem(key(place)) ?? '') : '';
}

/** Keep a text, or delete it when it is empty. Without a user nothing is written: another tab may be signing out. */
export function save(place, text) {
  if (!userId()) return;
  try {
    if (text.trim()) localStorage.setItem(key(place), text);
    else localStorage.removeItem(key(place));
  } catch {
    // Storage is full or forbidden. The text is still in the box.
  }
}

const filesKey = (place) => `${PREFIX}files.${place}`;

/** The uploaded files of an unsent message, described as in messages. */
export function loadFiles(place) {
  return userId() ? JSON.parse(localStorage.getItem(filesKey(place)) ?? '[]') : [];
}

/** Keep which uploaded files belong to an unsent message. Their bytes are on the server. */
export function saveFiles(place, files) {
  if (!userId()) return;
  try {
    if (files.length) localStorage.setItem(filesKey(place), JSON.stringify(files));
    else localStorage.removeItem(filesKey(place));
  } catch {
    // Storage is full or forbidden. The files are still in the box.
  }
}

// A message whose POST is not acknowledged survives a refresh of its tab, with the key under which it is sent once.
const PENDING = 'unbroken.pending';

/** Keep the body of a POST until the server acknowledges it, with the descriptions of its files. */
export function keepPending(body, files = []) {
  if (!userId()) return;
  sessionStorage.setItem(PENDING, JSON.stringify({ user: userId(), body, files }));
}

/** Delete the body of a POST that the server has acknowledged or refused. */
export function dropPending(clientId) {
  if (peekPending()?.client_msg_id === clientId) sessionStorage.removeItem(PENDING);
}

/** The unacknowledged body of this tab and this user, or null. */
export const peekPending = () => pending()?.body ?? null;

/** The descriptions of the files of the unacknowledged body. */
export const pendingFiles = () => pending()?.files ?? [];

function pending() {
  const kept = JSON.parse(sessionStorage.getItem(PENDING) ?? 'null');
  return kept && kept.user === userId() ? kept : null;
}
