/** The audit: actions of operators and on access, newest first. */

import { h } from '../dom.js';
import { generationAddress, userAddress } from './address.js';
import { NONE, words } from './format.js';
import { forApi } from './filters.js';
import { Listing } from './listing.js';
import * as api from './ops_api.js';
import { PagedList } from './paged_list.js';
import { copyable } from './parts.js';
import { time } from './times.js';

const COLUMNS = [
  { head: 'Time', cell: ({ at }) => time(at) },
  { head: 'Action', cell: ({ action }) => h('code', {}, action) },
  { head: 'By', cell: ({ actor_id: id }) => (id ? person(id) : 'the service') },
  { head: 'Object', cell: object },
  { head: 'On the user', low: true, cell: ({ user_id: id }) => (id ? person(id) : NONE) },
  { head: 'Details', cell: ({ details }) => detailText(details) },
  {
    head: 'From',
    low: true,
    cell: ({ credential_kind: kind, address }) => h('span', { class: 'two' }, kind ?? NONE, h('small', {}, address)),
  },
  { head: 'Request id', low: true, cell: ({ request_id: id }) => copyable(id, { what: 'the request id' }) },
];

const FIELDS = [
  { name: 'action', label: 'Action', kind: 'text', placeholder: 'such as user.blocked' },
  { name: 'actor', label: 'By (id)', kind: 'text' },
  { name: 'user', label: 'On the user (id)', kind: 'text' },
  { name: 'object', label: 'Object (id)', kind: 'text' },
  { name: 'last', label: 'Time', kind: 'period' },
];

const person = (id) => copyable(id, { href: userAddress(id), what: 'the id of the user' });

function object({ object_kind: kind, object_id: id }) {
  const href = { generation: generationAddress, user: userAddress }[kind]?.(id) ?? null;
  return h(
    'span',
    { class: 'two' },
    words(kind),
    id ? copyable(id, { href, what: `the id of the ${words(kind)}` }) : null,
  );
}

function detailText(details) {
  const entries = Object.entries(details ?? {}).filter(([, value]) => value !== null && value !== '');
  if (!entries.length) return NONE;
  const text = ([name, value]) => `${words(name)}: ${typeof value === 'object' ? JSON.stringify(value) : value}`;
  return h('span', { class: 'detail' }, entries.map(text).join('; '));
}

export class AuditView extends Listing {
  constructor(where, app) {
    const list = new PagedList({
      place: 'audit',
      label: 'Audited actions',
      noun: ['action'],
      load: (filters, signal) => api.audit(forApi(filters), signal),
      columns: COLUMNS,
      emptyText: () => 'No action matches these filters.',
    });
    super(where, app, { place: 'audit', title: 'Audit', list, fields: FIELDS });
  }
}
