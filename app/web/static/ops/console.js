/** The frame of the operators' page: the navigation, the shown view, and the state of the whole service beside them. */

import { announce, h, icon } from '../dom.js';
import { leave } from '../leaving.js';
import { openMenu, somethingOpen } from '../overlay.js';
import { Router } from '../router.js';
import { themeChoices } from '../theme_choice.js';
import { address, placeOf } from './address.js';
import { AuditView } from './audit.js';
import { DeadLettersView } from './dead_letters.js';
import { GenerationView } from './generation.js';
import { GenerationsView } from './generations.js';
import * as api from './ops_api.js';
import { OverviewView } from './overview.js';
import { empty } from './parts.js';
import { Poller } from './poller.js';
import { compareClocks } from './times.js';
import { UserView } from './user.js';
import { UsersView } from './users.js';
import { WorkersView } from './workers.js';

const VIEWS = {
  overview: OverviewView,
  generations: GenerationsView,
  generation: GenerationView,
  workers: WorkersView,
  users: UsersView,
  user: UserView,
  'dead-letters': DeadLettersView,
  audit: AuditView,
};
// The entries of the navigation: place, name, sign, and the places that belong to it.
const ENTRIES = [
  ['overview', 'Overview', 'pulse', []],
  ['generations', 'Generations', 'list', ['generation']],
  ['workers', 'Workers', 'server', []],
  ['users', 'Users', 'people', ['user']],
  ['dead-letters', 'Dead letters', 'inbox', []],
  ['audit', 'Audit', 'scroll', []],
];
const ROLES = { admin: 'administrator', support: 'support, reads texts', operator: 'operator, looks only' };
const OFTEN = 2000; // milliseconds between two overviews while the view shows them
const SELDOM = 10_000; // milliseconds between two overviews for the navigation alone

export class Console {
  #view = null;
  #where = null;
  #main = h('main', { class: 'stage', id: 'main' });
  #links = new Map();
  #signs = new Map();
  #account;
  #router;
  #onRefused;
  #listeners = new Set();

  /** `account`: the reply of GET /me. `onRefused()` is called when the server no longer lets the user look. */
  constructor(account, onRefused) {
    this.#account = account;
    this.#onRefused = onRefused;
    /** The last overview, or null. */
    this.overview = null;
    /** Whether the user may act, and not only look. */
    this.mayAct = account.role === 'admin';
    /** Whether the user may read the texts of answers. Administrators may not. */
    this.mayRead = account.role === 'support';
    this.pulse = new Poller({
      every: OFTEN,
      load: (signal) => this.#loadOverview(signal),
      onChange: () => this.#onPulse(),
    });
    this.#router = new Router((where) => this.#show(where), placeOf);
    const skip = h(
      'button',
      { type: 'button', class: 'skip', onclick: () => this.#focusHeading() },
      'Skip to the content',
    );
    this.node = h('div', { class: 'ops' }, skip, this.#rail(), this.#main);
    document.addEventListener('keydown', this.#onKey);
  }

  start() {
    this.pulse.start();
    this.#router.refresh();
  }

  /** Stop everything: the session has ended. */
  close() {
    this.pulse.stop();
    this.#view?.leave?.();
    this.#view = null;
    document.removeEventListener('keydown', this.#onKey);
  }

  /** Go to an address of this page. */
  go(path, options) {
    this.#router.go(path, options);
  }

  /** Call `listener(overview)` for the last overview and each new one. Returns a function that ends this. */
  listen(listener) {
    this.#listeners.add(listener);
    if (this.overview) listener(this.overview);
    return () => this.#listeners.delete(listener);
  }

  /** Set the name of the tab; `text` is the heading of the view. */
  named(text) {
    document.title = `${text} · Operators · Unbroken`;
  }

  // --- views -------------------------------------------------------------------------------------------------------

  #show(where) {
    const last = this.#where;
    for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close('');
    this.#where = where;
    this.pulse.every = where.name === 'overview' ? OFTEN : SELDOM;
    for (const [name, link] of this.#links) this.#markCurrent(link, name, where.name);
    // A view keeps its place when only its filters change, so that a form keeps the focus.
    if (this.#view?.move && last?.name === where.name && last.id === where.id) return this.#view.move(where);
    this.#view?.leave?.();
    const View = VIEWS[where.name];
    this.#view = View ? new View(where, this) : unknownView(this);
    this.#main.replaceChildren(this.#view.node);
    this.#main.scrollTop = 0;
    if (last) this.#focusHeading();
    return this.#view.open?.();
  }

  #focusHeading() {
    const heading = this.#main.querySelector('h1');
    if (!heading) return;
    heading.tabIndex = -1;
    heading.focus({ focusVisible: false, preventScroll: true });
  }

  #markCurrent(link, name, current) {
    const inside = ENTRIES.find(([entry]) => entry === name)[3];
    if (name === current || inside.includes(current)) link.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    if (name === current) link.setAttribute('aria-current', 'page');
    else if (inside.includes(current)) link.setAttribute('aria-current', 'true');
    else link.removeAttribute('aria-current');
  }

  // --- the state of the service ------------------------------------------------------------------------------------

  async #loadOverview(signal) {
    const begun = Date.now();
    const overview = await api.overview(signal);
    compareClocks(overview.at, begun, Date.now());
    const wasReady = this.overview?.ready;
    this.overview = overview;
    for (const listener of this.#listeners) listener(overview);
    if (wasReady !== undefined && wasReady !== overview.ready)
      announce(
        overview.ready ? 'The service is ready again.' : `The service is not ready. ${overview.reasons.join(' ')}`,
      );
  }

  #onPulse() {
    // The role may have been taken away in the meantime.
    if (this.pulse.problem?.status === 403) return this.#onRefused();
    const { overview } = this;
    if (!overview) return undefined;
    const dead = overview.webhooks?.dead ?? 0;
    this.#sign('overview', overview.ready ? null : ['!', 'not ready']);
    this.#sign('generations', overview.stuck ? [overview.stuck, 'stuck'] : null);
    this.#sign('workers', overview.workers?.lost ? [overview.workers.lost, 'lost'] : null);
    this.#sign('dead-letters', dead ? [dead, 'dead webhook deliveries'] : null);
    return undefined;
  }

  #sign(name, content) {
    const sign = this.#signs.get(name);
    const text = content ? `${content[0]}` : '';
    if (sign.firstChild?.textContent === text) return;
    sign.replaceChildren(...(content ? [text, h('span', { class: 'sr-only' }, ` ${content[1]}`)] : []));
  }

  // --- the navigation ----------------------------------------------------------------------------------------------

  #rail() {
    const entries = ENTRIES.map(([name, label, sign]) => {
      const mark = h('span', { class: 'rail-sign' });
      const link = h('a', { href: address(name) }, icon(sign), h('span', {}, label), mark);
      this.#links.set(name, link);
      this.#signs.set(name, mark);
      return h('li', {}, link);
    });
    const name = this.#account.email ?? this.#account.subject;
    const account = h(
      'button',
      { type: 'button', class: 'account', 'aria-haspopup': 'menu', 'aria-expanded': 'false', title: name },
      h('span', { class: 'face', 'aria-hidden': 'true' }, [...name][0].toUpperCase()),
      h('span', { class: 'who' }, name, h('small', {}, ROLES[this.#account.role])),
      h('span', { class: 'sr-only' }, 'Account and settings'),
      icon('more'),
    );
    account.addEventListener('click', () => this.#openMenu(account));
    return h(
      'header',
      { class: 'rail' },
      h('a', { href: address('overview'), class: 'mark' }, icon('wave'), 'Unbroken', h('small', {}, 'Operators')),
      h('nav', { 'aria-label': 'Operators' }, h('ul', {}, entries)),
      account,
    );
  }

  #openMenu(anchor) {
    openMenu(anchor, [
      ...themeChoices(),
      null,
      { label: 'Back to the chat', icon: 'back', action: () => location.assign('/') },
      { label: 'Sign out', icon: 'out', action: leave },
    ]);
  }

  // "/" goes to the filter of the view.
  #onKey = (event) => {
    if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key !== '/' || somethingOpen() || /^(?:INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const field = this.#main.querySelector('.filters input, .filters select');
    if (!field) return;
    event.preventDefault();
    field.focus();
  };
}

function unknownView(app) {
  app.named('Not found');
  const link = h('a', { href: address('overview'), class: 'primary' }, 'Go to the overview');
  return { node: h('div', { class: 'view' }, h('h1', {}, 'Nothing here'), empty('This page does not exist.', link)) };
}
