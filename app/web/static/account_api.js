/** The native API of an account: its sessions, keys, activity and data. */

import { LONG_LIMIT, persist, query, read, send } from './requests.js';

const part = encodeURIComponent;
// Milliseconds for one attempt. The server may have to ask the identity provider, which takes it up to 6 s.
const SIGN_OUT_LIMIT = 10_000;

export const sessions = () => read('/sessions');
export const endSession = (id) => send('DELETE', `/sessions/${part(id)}`);
/** End all sessions of the user, this one included, and all tokens that were issued before. */
export const endSessions = () => send('DELETE', '/sessions');

export const keys = () => read(`/api-keys${query({ limit: 100 })}`);
/** Make a key. The reply alone has its text, `key`. */
export const makeKey = (body) => send('POST', '/api-keys', { body, take: 'json' });
export const endKey = (id) => send('DELETE', `/api-keys/${part(id)}`);

export const activity = (cursor) => read(`/me/audit${query({ limit: 30, cursor })}`);

/** An archive of everything, behind `after`, the manifest's `next` of the archive before. */
export const exportArchive = (after) =>
  send('GET', `/me/export${query({ after: after ?? undefined })}`, { accept: '*/*', take: 'blob', limit: LONG_LIMIT });
/** Begin the erasure of the account and everything in it. */
export const erase = () => send('DELETE', '/me', { take: 'json' });
/** End the session. The reply has the address `next`, where an identity provider ends its own session. */
export const signOut = () => persist('POST', '/signout', { prefix: '', take: 'json', limit: SIGN_OUT_LIMIT });
