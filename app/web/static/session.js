/**
 * Who is signed in, and what this browser keeps for them.
 *
 * Kept in localStorage, so that every tab agrees: the token, the user's id, unsent drafts, the theme and other choices.
 * Conversations live in memory only. `signOut` empties all of it and tells the other tabs. A token that merely expired
 * takes only itself away: the draft waits for the same user, and is wiped when another one signs in. The whole table is
 * in docs/decisions/0021.
 */

const TOKEN = 'unbroken.token';
const USER = 'unbroken.user';
const CHANNEL = 'unbroken';

const listeners = new Set();
let shownFor = userId();
const channel = 'BroadcastChannel' in globalThis ? new BroadcastChannel(CHANNEL) : null;

/** The token, or null when signed out. Read every time: another tab may have changed it. */
export function token() {
  return localStorage.getItem(TOKEN);
}

/** The id of the user whose things this browser holds; it outlives an expired token. */
export function userId() {
  return localStorage.getItem(USER);
}

/** Keep a token that has proven good for `user`. Somebody else's leftovers go first. */
export function signIn(newToken, user) {
  if (userId() !== user) wipe();
  localStorage.setItem(USER, user);
  localStorage.setItem(TOKEN, newToken);
  shownFor = user;
  tell({ type: 'signed-in' });
}

/** The token is no good any more. Returns whether it was still the current one. */
export function expire(badToken) {
  if (token() !== badToken) return false;
  localStorage.removeItem(TOKEN);
  tell({ type: 'expired' });
  for (const listener of listeners) listener({ type: 'expired' });
  return true;
}

/** Leave nothing behind, in no tab, then start from an empty page. */
export async function signOut() {
  tell({ type: 'signed-out' });
  await wipe();
  restart();
}

/** Called with {type, …} for what other tabs say (signed-in, expired, changed, deleted), and for `expired` here. */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Tell the other tabs. */
export function tell(message) {
  channel?.postMessage(message);
}

/** Seconds until a JWT ends, by its own `exp`; null when it does not say. */
export function secondsLeft(jwt, now = Date.now()) {
  try {
    const payload = JSON.parse(atob(jwt.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')));
    return typeof payload.exp === 'number' ? payload.exp - now / 1000 : null;
  } catch {
    return null;
  }
}

function wipe() {
  localStorage.clear();
  sessionStorage.clear();
  return Promise.allSettled([wipeDatabases(), wipeCaches()]);
}

// The page uses neither; whatever else ran on this origin may have.
async function wipeDatabases() {
  for (const { name } of (await globalThis.indexedDB?.databases?.()) ?? []) indexedDB.deleteDatabase(name);
}

async function wipeCaches() {
  if (globalThis.caches) await Promise.all((await caches.keys()).map((key) => caches.delete(key)));
}

// A new document: memory, timers and open streams are gone for certain.
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

// Browsers without BroadcastChannel, and tabs that slept through it.
const check = () => {
  if (shownFor && userId() !== shownFor) restart();
};
addEventListener('storage', check);
addEventListener('pageshow', check);
addEventListener('visibilitychange', check);

// Signed out for good means nobody's things are here; a tab that was asleep then may still hold some.
if (!userId()) sessionStorage.clear();
