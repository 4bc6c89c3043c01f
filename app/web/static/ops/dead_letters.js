/** Dead letters: answers that failed or are stuck, and webhook deliveries that were given up. */

import { announce, h } from '../dom.js';
import { address, generationAddress, userAddress } from './address.js';
import { count, NONE, words } from './format.js';
import { forApi } from './filters.js';
import { generationActions } from './generation_actions.js';
import { COLUMNS, FIELDS } from './generations.js';
import { Listing } from './listing.js';
import * as api from './ops_api.js';
import { PagedList } from './paged_list.js';
import { badge, copyable } from './parts.js';
import { askReason } from './reason.js';
import { ago } from './times.js';

const EVERY = 5000; // milliseconds

// The lists, by `of` in the address.
const LISTS = [
  ['', 'Failed answers'],
  ['stuck', 'Stuck answers'],
  ['webhooks', 'Webhook deliveries'],
];

// The columns of generations that matter for one that failed.
const SHORT = COLUMNS.filter(({ head }) => !['First token', 'Tokens in / out', 'Total'].includes(head));

/** The list that `of` in the address names. */
export class DeadLettersView {
  node = h('div');
  #app;
  #of;
  #listing = null;

  constructor(where, app) {
    this.#app = app;
    this.#make(where);
  }

  open() {
    this.#listing.open();
  }

  move(where) {
    if (listOf(where) === this.#of) return this.#listing.move(where);
    this.#listing.leave();
    this.#make(where);
    // The tab that was pressed has been replaced by its like.
    this.node.querySelector('.spans [aria-current]')?.focus({ focusVisible: false });
    return this.#listing.open();
  }

  leave() {
    this.#listing.leave();
  }

  #make(where) {
    this.#of = listOf(where);
    this.#listing = this.#of === 'webhooks' ? deliveries(where, this.#app) : generations(where, this.#app, this.#of);
    this.node.replaceChildren(this.#listing.node);
  }
}

const listOf = ({ filters }) => (LISTS.some(([of]) => of === filters.of) ? filters.of : '');

function tabs(current) {
  return h(
    'nav',
    { class: 'spans', 'aria-label': 'Kinds of dead letters' },
    LISTS.map(([of, label]) =>
      h('a', { href: address('dead-letters', { of }), 'aria-current': of === current ? 'page' : null }, label),
    ),
  );
}

// --- generations ---------------------------------------------------------------------------------------------------

function generations(where, app, of) {
  const fixed = of === 'stuck' ? { stuck: 'true' } : { status: 'error' };
  const actions = (item) =>
    h(
      'span',
      { class: 'actions' },
      generationActions(item, (made) => {
        if (made.id === item.id) listing.refresh();
        else app.go(generationAddress(made.id));
      }),
    );
  const list = new PagedList({
    place: 'dead-letters',
    label: of === 'stuck' ? 'Stuck answers' : 'Failed answers',
    noun: ['generation'],
    load: ({ of: _, ...filters }, signal) => api.generations({ ...forApi(filters), ...fixed }, signal),
    columns: app.mayAct ? [...SHORT, { head: 'Actions', acts: true, cell: actions }] : SHORT,
    every: EVERY,
    emptyText: () => (of === 'stuck' ? 'No answer is stuck.' : 'No answer has failed. Nothing waits for you here.'),
  });
  const fields = FIELDS.filter(({ name }) => !['status', 'stuck'].includes(name));
  const listing = new Listing(where, app, {
    place: 'dead-letters',
    title: 'Dead letters',
    list,
    fields,
    more: tabs(of),
  });
  return listing;
}

// --- webhook deliveries --------------------------------------------------------------------------------------------

const STATES = [
  ['', 'dead'],
  ['waiting', 'waiting'],
  ['delivered', 'delivered'],
];

function deliveries(where, app) {
  const columns = [
    { head: 'Delivery', cell: ({ id }) => copyable(id, { what: 'the id of the delivery' }) },
    { head: 'State', cell: deliveryState },
    {
      head: 'Event',
      cell: ({ event_type: type, is_test: test, created_at: at }) =>
        h('span', { class: 'two' }, h('code', {}, type), h('small', {}, test && 'test, ', ago(at))),
    },
    {
      head: 'User',
      low: true,
      cell: ({ user_id: id, subject }) => h('a', { href: userAddress(id), class: 'link cut', title: subject }, subject),
    },
    { head: 'Receiver', cell: ({ url }) => h('span', { class: 'cut', title: url }, url) },
    { head: 'Attempts', numeric: true, cell: ({ attempt_count: attempts }) => count(attempts) },
    { head: 'Last attempt', low: true, cell: lastAttempt },
    {
      head: 'Generation',
      low: true,
      cell: ({ generation_id: id }) => (id ? copyable(id, { href: generationAddress(id), what: 'the id' }) : NONE),
    },
  ];
  const replay = (delivery) =>
    h(
      'button',
      {
        type: 'button',
        class: 'outlined',
        'aria-label': `Replay delivery ${delivery.id}`,
        onclick: () => run(delivery),
      },
      'Replay…',
    );
  const run = async (delivery) => {
    const done = await askReason({
      title: 'Send this event again?',
      text: `It waits for ${delivery.url} again, with all attempts of a new one. Its webhook-id stays, by which the receiver knows the event.`,
      action: 'Send it again',
      act: (reason) => api.replay(delivery.id, reason),
    });
    if (!done) return;
    announce('The delivery waits for its next attempt.');
    listing.refresh();
  };
  if (app.mayAct)
    columns.push({ head: 'Actions', acts: true, cell: (item) => (item.state === 'waiting' ? NONE : replay(item)) });
  const list = new PagedList({
    place: 'dead-letters',
    label: 'Webhook deliveries',
    noun: ['delivery', 'deliveries'],
    load: ({ of: _, ...filters }, signal) => api.deliveries({ state: 'dead', ...filters }, signal),
    columns,
    every: EVERY,
    emptyText: ({ state }) => `No delivery is ${words(state ?? 'dead')}.`,
  });
  const fields = [
    { name: 'state', label: 'State', kind: 'choice', options: STATES },
    { name: 'user', label: 'User', kind: 'text', placeholder: 'subject or id' },
    { name: 'endpoint', label: 'Endpoint', kind: 'text', placeholder: 'we_…' },
  ];
  const listing = new Listing(where, app, {
    place: 'dead-letters',
    title: 'Dead letters',
    list,
    fields,
    more: tabs('webhooks'),
  });
  return listing;
}

function deliveryState({ state, reason, next_attempt_at: next }) {
  const more = state === 'waiting' && next ? ['next ', ago(next)] : reason && words(reason);
  return h('span', { class: 'states' }, badge(state), more ? h('small', {}, more) : null);
}

function lastAttempt({ last_status: status, last_error: error, last_attempt_at: at }) {
  if (!at) return NONE;
  const outcome = status ? `HTTP ${status}` : (error ?? 'no answer');
  return h('span', { class: 'two' }, h('span', { class: 'cut', title: outcome }, outcome), h('small', {}, ago(at)));
}
