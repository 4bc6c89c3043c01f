/**
 * Follow a generation from any web page: an ES module with four others beside it, which it imports.
 *
 *     import { follow, begin } from '/static/stream.js';
 *
 *     // read an answer, from the start or from any cursor
 *     const reader = follow({
 *       url: '/api/v1/generations/0197…/stream',
 *       token: () => myToken,                // a string, or a function that returns one; {cookie: id} for a session
 *       cursor: '0-0',                       // the last event you have; '0-0' is the start
 *       onEvent: (event) => { … },           // {type: 'token', content: 'Hel', id: '1-1'}
 *       onState: (state) => { … },           // {name: 'live'}, see STATES
 *       transcript,                          // optional: the Transcript of the events up to the cursor
 *       signal: controller.signal,           // optional
 *       times: { maxDelay: 10_000 },         // optional, see TIMES; milliseconds unless said otherwise
 *     });
 *     const end = await reader.finished;     // {reason: 'done' | 'refused' | 'signed-out' | 'stopped', …}
 *
 *     // start an answer; after a lost connection the request is repeated with its key, so there is one answer
 *     const writer = begin({ url: '/api/v1/generations', body: { message: 'Hello' }, token, onEvent, onState });
 *
 * A reader guarantees:
 * - Each event arrives exactly once and in order. A repeat is dropped; after a hole the reader connects again.
 * - A connection that breaks, ends without `done`, or is silent for three heartbeats is opened again from the
 *   cursor, after a random pause that grows from 0.5 s to at most 30 s and starts over after progress.
 *   The event `online` ends a pause at once. After 429 and 503 the pause is as long as Retry-After says.
 * - After three failures in a row it polls `GET /generations/{id}?after=…&wait=25`; after a minute it streams again.
 * - 403, 404 and each other refusal end it. So does 401, unless `token()` returns a new token by then.
 * - At the end the text is checked against the sha256 in `done`. When it differs, and when nothing is left to read
 *   (204), a last event of type `final` has the whole generation as the server has it.
 *
 * Event types are those of the stream (open, queued, snapshot, token, reasoning, tool, usage, title, done),
 * and `final`.
 */

import { Follower } from './follower.js';
import { randomId } from './random_and_hash.js';

export { randomId, sha256 } from './random_and_hash.js';
export { backoff, EventParser, retryAfter } from './reconnecting_stream.js';
export { compare, Transcript } from './transcript.js';

export const STATES = Object.freeze({
  connecting: 'a request is on its way',
  live: 'the stream is open and events arrive',
  waiting: 'the next attempt is at `retryAt` (ms since 1970); `status` or `problem` is the reason',
  offline: 'the browser reports no network',
  polling: 'streaming failed repeatedly, so the reader polls',
  finished: 'all events were received, and the text was checked',
  stopped: 'refused (`status`, `problem`), signed out, or stopped by the caller',
});

/** Read an existing generation's stream. See the top of this file. */
export function follow(options) {
  return new Follower({ ...options, request: null });
}

/** Start a generation and read its stream. A `body` without a `client_msg_id` gets one. */
export function begin({ url, body, ...options }) {
  const request = { url, body: { client_msg_id: randomId(), ...body, stream: true } };
  return new Follower({ ...options, url: null, request });
}
