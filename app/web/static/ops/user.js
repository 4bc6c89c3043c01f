/** One user: state, usage, budget, limits, and block. */

import { announce, h, icon } from '../dom.js';
import { address } from './address.js';
import { count, money, NONE, words } from './format.js';
import { generationsOf } from './generations.js';
import { heading } from './heading.js';
import * as api from './ops_api.js';
import { badge, bones, copyable, empty, facts, meter, panel, section, trouble } from './parts.js';
import { Poller } from './poller.js';
import { askReason } from './reason.js';
import { simpleTable } from './overview_tables.js';
import { ago, time } from './times.js';

const EVERY = 5000; // milliseconds

export class UserView {
  node;
  #id;
  #app;
  #head;
  #poller;
  #has = false;
  #title = 'User';
  #actions = h('div', { class: 'actions' });
  #body = h('div', {}, bones());
  #facts = section(userFacts);
  #usage = section(usageTable);
  #budget = section(budgetTable);
  #limits = section(limitList);
  #shownActions = null;

  constructor(where, app) {
    this.#id = where.id;
    this.#app = app;
    app.named('User');
    this.#poller = new Poller({
      every: EVERY,
      load: async (signal) => {
        const [user, { budgets }] = await Promise.all([api.user(this.#id, signal), api.budget(this.#id, signal)]);
        this.#show({ ...user, budgets });
      },
      onChange: () => this.#onChange(),
    });
    this.#head = heading(this.#title, this.#poller, this.#actions);
    const back = h('a', { href: address('users'), class: 'back-link' }, icon('back'), 'All users');
    this.node = h('div', { class: 'view' }, back, this.#head.node, this.#body);
  }

  open() {
    this.#poller.start();
  }

  leave() {
    this.#poller.stop();
    this.#head.stop();
  }

  #show(user) {
    this.node.querySelector('h1').textContent = user.name ?? user.subject;
    if (!this.#has) this.#build(user);
    this.#has = true;
    this.#facts.show(user);
    this.#usage.show({ usage: user.usage });
    this.#budget.show({ budgets: user.budgets });
    this.#limits.show({ limits: user.limits });
    if (!this.#app.mayAct || this.#shownActions === user.state) return;
    this.#shownActions = user.state;
    this.#actions.replaceChildren(...this.#buttons(user));
  }

  #build(user) {
    const links = h(
      'ul',
      { class: 'links' },
      h('li', {}, h('a', { href: generationsOf({ user: user.subject }), class: 'link' }, 'Generations of this user')),
      h('li', {}, h('a', { href: address('audit', { user: user.id }), class: 'link' }, 'Actions on this user')),
      h('li', {}, h('a', { href: address('audit', { actor: user.id }), class: 'link' }, 'Actions by this user')),
    );
    this.#body.replaceChildren(
      h(
        'div',
        { class: 'pair' },
        panel('Account', [this.#facts.node, links]),
        h(
          'div',
          { class: 'stack' },
          panel('Usage', this.#usage.node),
          panel('Budget', this.#budget.node),
          panel('Limits', this.#limits.node),
        ),
      ),
    );
  }

  #buttons(user) {
    const button = (label, act, danger) =>
      h('button', { type: 'button', class: danger ? 'outlined danger' : 'outlined', onclick: () => act(user) }, label);
    if (user.state === 'active') return [button('Block…', (one) => this.#block(one), true)];
    return user.state === 'blocked' ? [button('Unblock…', (one) => this.#unblock(one), false)] : [];
  }

  async #block({ id, subject }) {
    const done = await askReason({
      title: `Block ${subject}?`,
      text: 'Every request of this user is refused from now on, whatever the credential, and open streams break within a second.',
      action: 'Block the user',
      danger: true,
      act: (reason) => api.block(id, reason),
    });
    if (done) this.#changed('The user is blocked.');
  }

  async #unblock({ id, subject }) {
    const done = await askReason({
      title: `Unblock ${subject}?`,
      text: 'The user may use the service again.',
      action: 'Unblock the user',
      act: (reason) => api.unblock(id, reason),
    });
    if (done) this.#changed('The user is unblocked.');
  }

  #changed(text) {
    announce(text);
    this.#poller.refresh();
  }

  #onChange() {
    const { problem } = this.#poller;
    if (!problem || this.#has) return;
    const missing = problem.status === 404 || problem.status === 422 || problem.status === 400;
    const shown = missing ? { message: 'There is no user with this id.' } : problem;
    this.#body.replaceChildren(trouble(shown, missing ? null : () => this.#poller.refresh()));
    if (missing) this.leave();
  }
}

function userFacts(user) {
  return facts([
    ['State', [badge(user.state), user.blocked_at ? [' since ', time(user.blocked_at)] : null]],
    ['Subject', copyable(user.subject, { what: 'the subject', whole: true })],
    ['Kind', { person: 'person', service: 'service account' }[user.kind] ?? user.kind],
    ['Id', copyable(user.id, { what: 'the id of the user' })],
    ['First seen', [time(user.created_at), ' · ', ago(user.created_at)]],
    ['Running', `${count(user.running)}, and ${count(user.queued)} waiting`],
    ['Conversations', count(user.conversations)],
    ['Sessions', count(user.sessions)],
    ['API keys', count(user.keys)],
  ]);
}

function usageTable({ usage }) {
  const row = (name, used) => [name, count(used?.input_tokens), count(used?.output_tokens)];
  return simpleTable(
    'Tokens',
    ['Since (UTC)', 'Tokens read', 'Tokens written'],
    [row('today', usage?.today), row('first of the month', usage?.month)],
  );
}

const amount = (value, unit) => (unit === 'tokens' ? `${count(Number(value))} tokens` : money(value, unit));

function budgetTable({ budgets }) {
  if (!budgets?.length) return empty('No budget limits this user.');
  return simpleTable(
    'Budget',
    ['Period', 'Used', 'Limit', 'Ends'],
    budgets.map(({ period, unit, used, limit, warning, ends_at: end }) => [
      period,
      [
        amount(used, unit),
        meter(Number(used), Number(limit), `Used in this ${period}`),
        warning && badge('near the limit', { tone: 'warn' }),
      ],
      amount(limit, unit),
      ago(end),
    ]),
  );
}

const LIMIT_NAMES = {
  new_conversations: 'New conversations',
  generations: 'Generations',
  reads: 'Reads',
  streams: 'Streams at once',
  message_chars: 'Characters of a message',
  attachments: 'Files of a message',
  file_bytes: 'Bytes of a file',
  prompt_file_bytes: 'Bytes of the images and PDFs of a message',
};

function limitList({ limits }) {
  const entries = Object.entries(limits ?? {}).map(([name, value]) => [
    LIMIT_NAMES[name] ?? words(name),
    typeof value === 'number' ? count(value) : String(value ?? NONE),
  ]);
  return facts(entries);
}
