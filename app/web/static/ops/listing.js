/** A view with filters and a list: the heading, the form, and the page that the address names. */

import { h } from '../dom.js';
import { address } from './address.js';
import { Filters } from './filters.js';
import { heading } from './heading.js';

export class Listing {
  node;
  #place;
  #app;
  #list;
  #filters;
  #head;
  #where;

  /** `place`: the name of the view. `list`: a PagedList. `fields`: of the filters. `more`: nodes over the list. */
  constructor(where, app, { place, title, list, fields, beside = [], more = [] }) {
    this.#place = place;
    this.#app = app;
    this.#list = list;
    this.#where = where;
    app.named(title);
    this.#head = heading(title, list.poller, beside);
    this.#filters = new Filters({ fields, onChange: (filters, how) => this.#filter(filters, how) });
    this.node = h('div', { class: 'view' }, this.#head.node, more, this.#filters.node, list.node);
  }

  open() {
    this.move(this.#where);
  }

  /** Show the page and the filters of an address. */
  move(where) {
    this.#where = where;
    this.#filters.show(where.filters);
    this.#list.open(where.filters);
  }

  /** Read the list again. */
  refresh() {
    this.#list.poller.refresh();
  }

  leave() {
    this.#filters.stop();
    this.#list.leave();
    this.#head.stop();
  }

  // A step of the history for each choice, and one for all keys of a text.
  #filter(filters, { typed }) {
    const path = address(this.#place, { ...this.#kept(), ...filters });
    if (path !== location.pathname + location.search) this.#app.go(path, { replace: typed && this.#isTyping() });
    this.#typedAt = typed ? Date.now() : 0;
  }

  #typedAt = 0;

  #isTyping() {
    return Date.now() - this.#typedAt < 5000;
  }

  // Parts of the address that are no filters of the form.
  #kept() {
    const { of } = this.#where.filters;
    return { of };
  }
}
