/** Unsent text, one per place (a conversation, or a new one), kept for the signed-in user only. */

import { userId } from './session.js';

const PREFIX = 'unbroken.draft.';

const key = (place) => `${PREFIX}${place}`;

/** The unsent text of a place, or ''. */
export function load(place) {
  return userId() ? (localStorage.getItem(key(place)) ?? '') : '';
}

/** Keep, or forget when empty. Without a user nothing is written: sign-out may be happening in another tab. */
export function save(place, text) {
  if (!userId()) return;
  try {
    if (text.trim()) localStorage.setItem(key(place), text);
    else localStorage.removeItem(key(place));
  } catch {
    // Storage is full or forbidden: the text is still in the box.
  }
}

// A message whose POST is not acknowledged yet survives a refresh of its tab, with the key that makes it one.
const PENDING = 'unbroken.pending';

/** Remember the body of a POST until the server has said yes. */
export function keepPending(body) {
  if (!userId()) return;
  sessionStorage.setItem(PENDING, JSON.stringify({ user: userId(), body }));
}

/** The server has it, or has refused it. */
export function dropPending(clientId) {
  if (peekPending()?.client_msg_id === clientId) sessionStorage.removeItem(PENDING);
}

/** The unacknowledged body of this tab and this user, or null. */
export function peekPending() {
  const kept = JSON.parse(sessionStorage.getItem(PENDING) ?? 'null');
  return kept && kept.user === userId() ? kept.body : null;
}
