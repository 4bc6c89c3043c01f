/**
 * The session of the user who is signed in, and the data that this browser keeps for that user.
 *
 * The secret of the session is a cookie that no script can read. localStorage holds the ids of the session and its user,
 * unsent drafts, the theme and other choices, so that all tabs agree. Conversations are in memory only. `signOut`
 * deletes all of it and notifies the other tabs. The end of a session deletes the session's id alone: the drafts stay
 * for its user, and are deleted when another user signs in. docs/decisions/0021 has the whole table.
 */

import { forgetLanguage } from './language_choice.js';

const SESSION = 'unbroken.session';
const USER = 'unbroken.user';
const CHANNEL = 'unbroken';
const WIPE_LIMIT = 2_000; // milliseconds that the browser gets for databases and caches before the page leaves

const listeners = new Set();
let shownFor = userId();
const channel = 'BroadcastChannel' in globalThis ? new BroadcastChannel(CHANNEL) : null;

/**
 * The proof for the readers of streams (`token` in stream.js): the cookie of the session, named by the session's id. Null
 * when signed out. It is read each time, because another tab may have signed in.
 */
export function proof() {
  const cookie = localStorage.getItem(SESSION);
  return cookie ? { cookie } : null;
}

/** The id of the user whose data this browser keeps; it outlives an ended session. */
export function userId() {
  return localStorage.getItem(USER);
}

/** Keep the session of an account (`GET /me`). The data of another user is deleted first. */
export function signIn({ id, sign_in: { session_id: session } }) {
  if (userId() === id && proof()?.cookie === session) return;
  if (userId() !== id) wipe();
  localStorage.setItem(USER, id);
  localStorage.setItem(SESSION, session);
  shownFor = id;
  notifyTabs({ type: 'signed-in' });
}

/** Delete the id of a session that has ended. Returns whether it was the current session. */
export function expire(ended) {
  if (!ended || proof()?.cookie !== ended.cookie) return false;
  localStorage.removeItem(SESSION);
  notifyTabs({ type: 'expired' });
  for (const listener of listeners) listener({ type: 'expired' });
  return true;
}

/** The tab leaves by itself from now on. Otherwise it loads the page again when its user is gone from the storage. */
export function beginToLeave() {
  shownFor = null;
}

/** Delete all data in all tabs, then load `address`: an empty page, or the sign-out of an identity provider. */
export async function signOut(address = '/') {
  notifyTabs({ type: 'signed-out' });
  await Promise.race([wipe(), new Promise((resolve) => setTimeout(resolve, WIPE_LIMIT))]);
  location.replace(address);
}

/** Call `listener` with each message of other tabs ({type: signed-in, expired, changed, deleted}), and on `expired`. */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Post a message to the other tabs. */
export function notifyTabs(message) {
  channel?.postMessage(message);
}

function wipe() {
  localStorage.clear();
  sessionStorage.clear();
  forgetLanguage();
  return Promise.allSettled([wipeDatabases(), wipeCaches()]);
}

// The page uses neither databases nor caches. Another program on this origin may have used them.
async function wipeDatabases() {
  for (const { name } of (await globalThis.indexedDB?.databases?.()) ?? []) indexedDB.deleteDatabase(name);
}

async function wipeCaches() {
  if (globalThis.caches) await Promise.all((await caches.keys()).map((key) => caches.delete(key)));
}

// In a new document all memory, timers and streams of the old one are gone.
function restart() {
  location.replace('/');
}

channel?.addEventListener('message', ({ data }) => {
  if (data.type === 'signed-out') {
    sessionStorage.clear();
    restart();
    return;
  }
  shownFor ??= userId();
  for (const listener of listeners) listener(data);
});

// For browsers without BroadcastChannel, and for tabs that were asleep when a message came.
const check = () => {
  if (shownFor && userId() !== shownFor) restart();
};
addEventListener('storage', check);
addEventListener('pageshow', check);
addEventListener('visibilitychange', check);

// Without a user this browser keeps no data. A tab that was asleep at the sign-out may have some left.
if (!userId()) sessionStorage.clear();
