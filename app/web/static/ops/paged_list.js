/** A page of a long list, read by keyset: a table, its links to the other pages, and its empty place. */

import { announce, h, icon } from '../dom.js';
import { address } from './address.js';
import { counted } from './format.js';
import { bones, empty, trouble } from './parts.js';
import { Poller } from './poller.js';
import { Table } from './table.js';

const LIMIT = 50; // items of a page

export class PagedList {
  node = h('div', { class: 'paged' });
  #place;
  #load;
  #table;
  #body = h('div', {}, bones());
  #foot = h('nav', { class: 'pages', 'aria-label': 'Pages' });
  #filters = {};
  #noun;
  #empty;
  #fresh = true;

  /**
   * `place`: the view whose addresses the links have. `load(filters, signal)`: a page, {items, next_cursor}. `every`:
   * milliseconds between two reads of the first page, or null to read once. `noun`: of an item, and of several when they are not made by an s. `emptyText(filters)`: the
   * sentence of a list without items.
   */
  constructor({ place, load, label, columns, keyOf, every = null, noun, emptyText }) {
    this.#place = place;
    this.#load = load;
    this.#noun = noun;
    this.#empty = emptyText;
    this.#table = new Table({ label, columns, keyOf });
    this.poller = new Poller({
      every,
      load: (signal) => this.#read(signal),
      onChange: () => this.#onChange(),
    });
    this.node.append(this.#body, this.#foot);
  }

  /** Read the page of these filters. The shown one stays, greyed, until it is there. */
  open(filters) {
    this.#filters = filters;
    this.#fresh = true;
    this.#body.setAttribute('aria-busy', 'true');
    this.poller.restart();
  }

  leave() {
    this.poller.stop();
  }

  /** Focus the first row. */
  focus() {
    this.#table.focus();
  }

  async #read(signal) {
    const filters = this.#filters;
    const { items, next_cursor: next } = await this.#load({ limit: LIMIT, ...filters }, signal);
    if (filters !== this.#filters) return;
    this.#table.show(items);
    const shown = items.length ? this.#table.node : empty(this.#empty(filters));
    if (this.#body.firstChild !== shown) this.#body.replaceChildren(shown);
    this.#showPages(items, next);
    this.#body.removeAttribute('aria-busy');
    if (this.#fresh)
      announce(items.length ? `${counted(items.length, ...this.#noun)} on this page` : this.#empty(filters));
    this.#fresh = false;
  }

  #onChange() {
    if (!this.poller.problem || !this.#fresh) return;
    this.#body.removeAttribute('aria-busy');
    this.#body.replaceChildren(trouble(this.poller.problem, () => this.poller.refresh()));
    this.#foot.replaceChildren();
  }

  #showPages(items, next) {
    const { cursor, ...filters } = this.#filters;
    const first = cursor
      ? h('a', { href: address(this.#place, filters), class: 'quiet' }, icon('back'), 'First page')
      : null;
    const following = next
      ? h(
          'a',
          { href: address(this.#place, { ...filters, cursor: next }), class: 'quiet', rel: 'next' },
          'Next page',
          icon('next'),
        )
      : null;
    const key = `${first?.href} ${following?.href} ${items.length}`;
    if (this.#foot.dataset.key === key) return;
    this.#foot.dataset.key = key;
    this.#foot.replaceChildren(
      ...[h('span', {}, items.length ? counted(items.length, ...this.#noun) : ''), first, following].filter(Boolean),
    );
  }
}
