/** The generations of all users: filters, and pages by keyset. */

import { h } from '../dom.js';
import { address, generationAddress } from './address.js';
import { compact, count, duration, NONE } from './format.js';
import { forApi } from './filters.js';
import { Listing } from './listing.js';
import * as api from './ops_api.js';
import { PagedList } from './paged_list.js';
import { badge, copyable } from './parts.js';
import { ago } from './times.js';

const EVERY = 5000; // milliseconds

const STATUSES = [
  ['', 'Any status'],
  ['queued', 'queued'],
  ['running', 'running'],
  ['completed', 'completed'],
  ['cancelled', 'cancelled'],
  ['error', 'error'],
];

export const FIELDS = [
  { name: 'status', label: 'Status', kind: 'choice', options: STATUSES },
  { name: 'user', label: 'User', kind: 'text', placeholder: 'subject or id' },
  { name: 'model', label: 'Model', kind: 'text' },
  { name: 'worker', label: 'Worker', kind: 'text' },
  { name: 'request_id', label: 'Request id', kind: 'text' },
  { name: 'last', label: 'Created', kind: 'period' },
  { name: 'stuck', label: 'Stuck only', kind: 'switch' },
];

const usage = ({ usage: used }) => (used ? `${compact(used.input_tokens)} / ${compact(used.output_tokens)}` : NONE);

/** The columns of a table of generations. */
export const COLUMNS = [
  {
    head: 'Generation',
    cell: ({ id }) => {
      const shown = copyable(id, { href: generationAddress(id), what: 'the id' });
      shown.querySelector('a').dataset.opens = '';
      return shown;
    },
  },
  { head: 'Status', cell: (item) => status(item) },
  { head: 'Created', cell: ({ created_at: at }) => ago(at) },
  { head: 'User', cell: ({ user }) => h('span', { class: 'cut', title: user }, user) },
  { head: 'Model', cell: ({ model }) => h('span', { class: 'cut', title: model }, model) },
  {
    head: 'Worker',
    low: true,
    cell: ({ worker }) => (worker ? h('span', { class: 'cut', title: worker }, worker) : NONE),
  },
  { head: 'First token', numeric: true, low: true, cell: ({ latency_ms: latency }) => duration(latency?.first_token) },
  { head: 'Total', numeric: true, cell: ({ latency_ms: latency }) => duration(latency?.total) },
  { head: 'Tokens in / out', numeric: true, low: true, cell: usage },
  { head: 'Attempts', numeric: true, low: true, cell: ({ attempt_log: log }) => count(log?.length) },
];

/** The state of a generation: its status, whether it is stuck, and the code of its error. */
export function status({ status: name, stuck, error, cancel_requested: cancelled }) {
  const code = error?.code;
  return h(
    'span',
    { class: 'states' },
    badge(name, { tone: name === 'completed' ? 'good' : undefined }),
    stuck && badge('stuck'),
    cancelled && !error && (name === 'running' || name === 'queued') && badge('cancel asked', { tone: 'warn' }),
    code && h('code', {}, code),
  );
}

export class GenerationsView extends Listing {
  constructor(where, app) {
    const list = new PagedList({
      place: 'generations',
      label: 'Generations',
      noun: ['generation'],
      load: (filters, signal) => api.generations(forApi(filters), signal),
      columns: COLUMNS,
      every: EVERY,
      emptyText: (filters) =>
        Object.keys(filters).length ? 'No generation matches these filters.' : 'There are no generations yet.',
    });
    super(where, app, { place: 'generations', title: 'Generations', list, fields: FIELDS });
  }
}

/** The address of the generations of a user, of a worker, … */
export const generationsOf = (filters) => address('generations', filters);
