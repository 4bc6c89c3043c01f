/** The API of operators: one function per request. Reads take a signal; the views repeat them by themselves. */

import { LONG_LIMIT, query, send } from '../requests.js';

const part = encodeURIComponent;
const READ_LIMIT = 15_000; // milliseconds

const read = (path, signal) => send('GET', `/ops${path}`, { signal, take: 'json', limit: READ_LIMIT });
const act = (path, body) => send('POST', `/ops${path}`, { body, take: 'json' });

export const overview = (signal) => read('/overview', signal);
export const series = (span, signal) => read(`/series${query({ span })}`, signal);
export const queues = (signal) => read('/queues', signal);
export const upstreams = (signal) => read('/upstreams', signal);

/** A page of generations. `filters`: status, stuck, user, model, worker, since, until, request_id, cursor, limit. */
export const generations = (filters, signal) => read(`/generations${query(filters)}`, signal);
export const generation = (id, signal) => read(`/generations/${part(id)}`, signal);
/** The texts of a generation: content, reasoning, prompt. The server records the look with its reason. */
export const generationText = (id, reason) =>
  send('POST', `/ops/generations/${part(id)}/text`, { body: { reason }, take: 'json', limit: LONG_LIMIT });
/** `action`: cancel, fail or requeue. */
export const actOnGeneration = (id, action, reason) => act(`/generations/${part(id)}/${action}`, { reason });

export const workers = (signal) => read('/workers', signal);
/** `mode`: finish (the worker's answers go to their end there) or hand_over (other workers go on with them). */
export const drain = (name, mode, reason) => act(`/workers/${part(name)}/drain`, { mode, reason });
export const undrain = (name, reason) => act(`/workers/${part(name)}/undrain`, { reason });

/** A page of users. `filters`: search (the beginning of the subject), cursor, limit. */
export const users = ({ search, ...filters }, signal) =>
  read(`/users${query({ subject: search, ...filters })}`, signal);
export const user = (id, signal) => read(`/users/${part(id)}`, signal);
/** The budgets of a user with what is used of each: {limits, budgets}. */
export const budget = (id, signal) => read(`/users/${part(id)}/budget`, signal);
export const block = (id, reason) => act(`/users/${part(id)}/block`, { reason });
export const unblock = (id, reason) => act(`/users/${part(id)}/unblock`, { reason });

/** A page of webhook deliveries. `filters`: state, user, endpoint, cursor, limit. */
export const deliveries = (filters, signal) => read(`/webhook-deliveries${query(filters)}`, signal);
export const replay = (id, reason) => act(`/webhook-deliveries/${part(id)}/replay`, { reason });

/** A page of audited actions. `filters`: user, actor, action, object, since, until, cursor, limit. */
export const audit = (filters, signal) => read(`/audit${query(filters)}`, signal);
