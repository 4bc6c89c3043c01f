/** Users: a list with search. */

import { h } from '../dom.js';
import { userAddress } from './address.js';
import { count } from './format.js';
import { Listing } from './listing.js';
import * as api from './ops_api.js';
import { PagedList } from './paged_list.js';
import { badge, copyable } from './parts.js';
import { ago } from './times.js';

const COLUMNS = [
  {
    head: 'User',
    cell: ({ id, subject, name }) => {
      const link = h('a', { href: userAddress(id), class: 'link cut', title: subject }, name ?? subject);
      link.dataset.opens = '';
      return link;
    },
  },
  { head: 'State', cell: ({ state }) => badge(state) },
  { head: 'Kind', cell: ({ kind }) => ({ person: 'person', service: 'service account' })[kind] ?? kind },
  { head: 'First seen', cell: ({ created_at: at }) => ago(at) },
  { head: 'API keys', numeric: true, low: true, cell: ({ keys }) => count(keys) },
  { head: 'Id', low: true, cell: ({ id }) => copyable(id, { what: 'the id of the user' }) },
];

export class UsersView extends Listing {
  constructor(where, app) {
    const list = new PagedList({
      place: 'users',
      label: 'Users',
      noun: ['user'],
      load: api.users,
      columns: COLUMNS,
      emptyText: (filters) => (filters.search ? 'No user matches.' : 'Nobody has used this service yet.'),
    });
    const fields = [{ name: 'search', label: 'Search', kind: 'text', placeholder: 'beginning of the subject' }];
    super(where, app, { place: 'users', title: 'Users', list, fields });
  }
}
