/** The native API: one function per request, problems as errors. */

import { expire, token } from './session.js';

const PREFIX = '/api/v1';
const RETRIES = 2;

/** A refusal (RFC 9457), or no answer at all (`status` 0). */
export class Problem extends Error {
  constructor(status, body) {
    super(explain(status, body));
    this.status = status;
    this.body = body;
  }
}

/** One sentence for people. */
export function explain(status, body) {
  if (body?.detail) return body.detail;
  if (status === 0) return 'The server cannot be reached just now.';
  if (status === 401) return 'Please sign in again.';
  if (status === 404) return 'There is nothing here, or it is not yours.';
  if (status === 429) return 'That was a little fast. Try again in a moment.';
  if (status >= 500) return 'The server has trouble just now. Try again in a moment.';
  return body?.title ?? 'That did not work.';
}

async function send(method, path, { body, signal, bearer = token(), accept = 'application/json' } = {}) {
  const headers = { Accept: accept };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const init = { method, headers, signal, cache: 'no-store', credentials: 'omit' };
  if (body !== undefined) init.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(PREFIX + path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, null);
  }
  if (response.ok) return response;
  const problem = new Problem(response.status, await response.json().catch(() => null));
  if (response.status === 401) expire(bearer);
  throw problem;
}

// Reading again is harmless, so a passing trouble of a read is not shown at once.
async function read(path, options) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await (await send('GET', path, options)).json();
    } catch (error) {
      const passing = error instanceof Problem && (error.status === 0 || error.status >= 500);
      if (!passing || attempt >= RETRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, 300 * 3 ** attempt * (0.5 + Math.random())));
    }
  }
}

const query = (fields) => {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return entries.length ? `?${new URLSearchParams(entries)}` : '';
};
const part = encodeURIComponent;

export const me = (bearer) => read('/me', { bearer });
export const models = () => read('/models');
export const usage = (period) => read(`/usage${query(period)}`);
export const search = (q, { cursor, signal } = {}) => read(`/search${query({ q, cursor })}`, { signal });

export const conversations = ({ cursor, limit = 30, archived } = {}, signal) =>
  read(`/conversations${query({ limit, cursor, archived: archived ? 'true' : undefined })}`, { signal });
export const conversation = (id, signal) => read(`/conversations/${part(id)}`, { signal });
export const generation = (id, signal) => read(`/generations/${part(id)}`, { signal });

/** All messages after `seq`, page by page. */
export async function messages(id, { after = null, signal } = {}) {
  const items = [];
  for (let seq = after; ;) {
    const page = await read(`/conversations/${part(id)}/messages${query({ after_seq: seq, limit: 100 })}`, { signal });
    items.push(...page.items);
    if (page.next_seq === null || page.next_seq === undefined || page.next_seq === seq || !page.items.length)
      return items;
    seq = page.next_seq;
  }
}

export const change = async (id, fields) =>
  (await send('PATCH', `/conversations/${part(id)}`, { body: fields })).json();
export const remove = (id) => send('DELETE', `/conversations/${part(id)}`);
export const cancel = async (id) => (await send('POST', `/generations/${part(id)}/cancel`)).json();
export const regenerate = async (id, body) => (await send('POST', `/messages/${part(id)}/regenerate`, { body })).json();
export const edit = async (id, body) => (await send('POST', `/messages/${part(id)}/edit`, { body })).json();

/** A conversation as a file, `format` md or json. */
export const exportConversation = async (id, format) =>
  (await send('GET', `/conversations/${part(id)}/export?format=${format}`, { accept: '*/*' })).blob();
/** A conversation from such a file, parsed. */
export const importConversation = async (body) => (await send('POST', '/conversations/import', { body })).json();
