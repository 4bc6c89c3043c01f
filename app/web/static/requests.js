/** Requests of the page to the native API, with limits of time; problems as errors. */

import { asText, explainRefusal } from './explanations.js';
import { expire, proof } from './session.js';

const PREFIX = '/api/v1';
const RETRIES = 2;
const LIMIT = 30_000; // milliseconds for a request and its whole reply
export const LONG_LIMIT = 300_000; // milliseconds for a file with a whole conversation

/** A refusal (RFC 9457), or no reply at all (`status` 0). `explanation`: see explanations.js. */
export class Problem extends Error {
  constructor(status, body) {
    const explanation = explainRefusal(status, body);
    super(asText(explanation));
    this.status = status;
    this.body = body;
    this.explanation = explanation;
  }
}

// `take`: the form of the body, 'json' or 'blob'; without it the body is not read. `limit` includes the body. `key` makes a
// POST safe to repeat.
export async function send(method, path, options = {}) {
  const { used = proof(), signal } = options;
  try {
    return await attempt(method, path, options);
  } catch (error) {
    if (!(error instanceof Problem)) throw signal?.aborted ? error : new Problem(0, null);
    if (error.status !== 401) throw error;
    // Another tab may have signed in again. A refused request has changed nothing, so it can be repeated.
    const current = proof();
    if (!options.used && current && current.cookie !== used?.cookie)
      return await send(method, path, { ...options, used: current });
    expire(used);
    throw error;
  }
}

async function attempt(
  method,
  path,
  { body, key, signal, take, prefix = PREFIX, limit = LIMIT, accept = 'application/json' },
) {
  const headers = { Accept: accept };
  const init = { method, headers, cache: 'no-store', credentials: 'same-origin' };
  init.signal = AbortSignal.any([AbortSignal.timeout(limit), ...(signal ? [signal] : [])]);
  if (key !== undefined) headers['Idempotency-Key'] = key;
  if (body !== undefined) {
    headers['Content-Type'] = 'application/json';
    init.body = JSON.stringify(body);
  }
  const response = await fetch(prefix + path, init);
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => null));
  return take ? response[take]() : undefined;
}

/** Send a request that may be repeated: it is, before a problem of the server is shown. Options are those of `send`. */
export async function persist(method, path, options) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await send(method, path, options);
    } catch (error) {
      const passing = error instanceof Problem && (error.status === 0 || error.status >= 500);
      if (!passing || attempt >= RETRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, 300 * 3 ** attempt * (0.5 + Math.random())));
    }
  }
}

export const read = (path, options) => persist('GET', path, { ...options, take: 'json' });

export const query = (fields) => {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return entries.length ? `?${new URLSearchParams(entries)}` : '';
};
