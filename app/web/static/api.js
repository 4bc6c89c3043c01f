/** The native API: one function per request. */

import { LONG_LIMIT, query, read, send } from './requests.js';

const part = encodeURIComponent;

export const me = () => read('/me');
export const models = () => read('/models');
export const usage = (period) => read(`/usage${query(period)}`);
export const search = (q, { cursor, signal } = {}) => read(`/search${query({ q, cursor })}`, { signal });

/** A page of conversations. `pinned`, `tag` and `model` let through only those that have it. */
export const conversations = ({ limit = 30, archived, pinned, ...filter } = {}, signal) => {
  const flags = { archived: archived ? 'true' : undefined, pinned: pinned ? 'true' : undefined };
  return read(`/conversations${query({ limit, ...flags, ...filter })}`, { signal });
};
export const conversation = (id, signal) => read(`/conversations/${part(id)}`, { signal });
export const generation = (id, signal) => read(`/generations/${part(id)}`, { signal });

/** All messages, or those after the number `after`; requested in pages of 100. */
export async function messages(id, { after = null, signal } = {}) {
  const items = [];
  for (let seq = after; ;) {
    const page = await read(`/conversations/${part(id)}/messages${query({ after_seq: seq, limit: 100 })}`, { signal });
    items.push(...page.items);
    // Pages only go forward, so the number of requests has a bound whatever the server sends.
    const forward = Number.isInteger(page.next_seq) && page.next_seq > (seq ?? -1);
    if (!forward || !page.items.length) return items;
    seq = page.next_seq;
  }
}

export const change = (id, fields) => send('PATCH', `/conversations/${part(id)}`, { body: fields, take: 'json' });
export const remove = (id) => send('DELETE', `/conversations/${part(id)}`);
export const cancel = (id) => send('POST', `/generations/${part(id)}/cancel`, { take: 'json' });
export const regenerate = (id, body) => send('POST', `/messages/${part(id)}/regenerate`, { body, take: 'json' });
export const goOn = (id, body) => send('POST', `/messages/${part(id)}/continue`, { body, take: 'json' });
export const edit = (id, body) => send('POST', `/messages/${part(id)}/edit`, { body, take: 'json' });

/** A conversation as a file, `format` md or json. */
export const exportConversation = (id, format) =>
  send('GET', `/conversations/${part(id)}/export?format=${format}`, { accept: '*/*', take: 'blob', limit: LONG_LIMIT });
/** The address of a file's bytes; the browser sends the cookie of its session. */
export const contentPath = (id) => `/api/v1/files/${part(id)}/content`;
/** The bytes of a file. */
export const fileContent = (id, { signal } = {}) =>
  send('GET', `/files/${part(id)}/content`, { signal, accept: '*/*', take: 'blob', limit: LONG_LIMIT });
/** A small picture of an image. Throws a Problem with status 422 where there is none. */
export const fileThumbnail = (id) =>
  send('GET', `/files/${part(id)}/content?variant=thumbnail`, { accept: '*/*', take: 'blob', limit: LONG_LIMIT });
export const fileAbout = (id) => read(`/files/${part(id)}`);
