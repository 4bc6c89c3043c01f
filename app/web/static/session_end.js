/** Notices the end of a session at its time, and not only when the next request is refused. */

import * as api from './api.js';
import { bounded } from './reconnecting_stream.js';
import * as session from './session.js';

const GRACE = 500; // milliseconds after the end, so that the server sees it, too
const LEAST = 60_000; // milliseconds between two questions: this machine's clock may be years ahead of the server's

let timer = null;
let endsAt = Infinity;
let askedAt = -Infinity;

/** Ask the server at the time `expiresAt` whether the session still holds. A session that is used ends later. */
export function endInTime(expiresAt) {
  endsAt = Math.max(Date.parse(expiresAt) + GRACE, askedAt + LEAST);
  watch();
}

function watch() {
  clearTimeout(timer);
  if (!session.proof() || !Number.isFinite(endsAt)) return;
  const left = endsAt - Date.now();
  timer = setTimeout(left > 0 ? watch : ask, bounded(left));
}

async function ask() {
  askedAt = Date.now();
  // A refusal ends the session in api.js; anything else is no answer, and the next request has it.
  const me = await api.me().catch(() => null);
  if (me) endInTime(me.sign_in.expires_at);
}

// A timer stands still while the machine is asleep.
for (const type of ['pageshow', 'visibilitychange']) addEventListener(type, watch);
