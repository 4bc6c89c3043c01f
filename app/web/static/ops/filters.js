/** The filters of a list as a form. They are the query of the address, so that a link and the back button have them. */

import { h, icon } from '../dom.js';

const DELAY = 400; // milliseconds after the last key, before a text counts
const PERIODS = [
  ['', 'Any time'],
  ['15m', 'Last 15 minutes', 15],
  ['1h', 'Last hour', 60],
  ['1d', 'Last 24 hours', 1440],
  ['7d', 'Last 7 days', 10_080],
  ['between', 'Between…'],
];

export class Filters {
  node;
  #fields;
  #onChange;
  #timer = null;
  #reset;

  /**
   * `fields`: {name, label, kind: 'text' | 'choice' | 'switch' | 'period', options?, placeholder?}. `onChange(filters,
   * {typed})`: new filters, by name; `typed` while somebody writes.
   */
  constructor({ fields, onChange }) {
    this.#onChange = onChange;
    this.#fields = fields.map((field) => KINDS[field.kind](field, (typed) => this.#changed(typed)));
    this.#reset = h('button', { type: 'button', class: 'quiet', onclick: () => this.#clear() }, icon('close'), 'Clear');
    this.node = h(
      'form',
      { class: 'filters', role: 'search', 'aria-label': 'Filters', onsubmit: (event) => this.#submit(event) },
      this.#fields.map(({ node }) => node),
      this.#reset,
    );
  }

  /** Show the filters of an address. */
  show(filters) {
    for (const field of this.#fields) field.show(filters);
    this.#reset.hidden = !Object.keys(this.#values()).length;
  }

  /** Forget what is being typed: the view is left. */
  stop() {
    clearTimeout(this.#timer);
  }

  #values() {
    return Object.assign({}, ...this.#fields.map((field) => field.read()));
  }

  #changed(typed) {
    clearTimeout(this.#timer);
    if (typed) this.#timer = setTimeout(() => this.#send(true), DELAY);
    else this.#send(false);
  }

  #send(typed) {
    const values = this.#values();
    this.#reset.hidden = !Object.keys(values).length;
    this.#onChange(values, { typed });
  }

  #submit(event) {
    event.preventDefault();
    this.#changed(false);
  }

  #clear() {
    this.show({});
    this.#changed(false);
    this.node.querySelector('input, select').focus();
  }
}

const only = (name, value) => (value ? { [name]: value } : {});

const KINDS = {
  text({ name, label, placeholder = '', type = 'search' }, changed) {
    const input = h('input', {
      type,
      id: `filter-${name}`,
      placeholder,
      autocomplete: 'off',
      spellcheck: 'false',
      maxlength: '255',
    });
    input.addEventListener('input', () => changed(true));
    input.addEventListener('change', () => changed(false));
    return {
      node: labelled(input, label),
      read: () => only(name, input.value.trim()),
      // The text of somebody who writes stays as it is.
      show: (filters) => {
        if (input.value.trim() !== (filters[name] ?? '')) input.value = filters[name] ?? '';
      },
    };
  },

  choice({ name, label, options }, changed) {
    const select = selection(`filter-${name}`, options);
    select.addEventListener('change', () => changed(false));
    return {
      node: labelled(select, label),
      read: () => only(name, select.value),
      show: (filters) => choose(select, filters[name] ?? ''),
    };
  },

  switch({ name, label }, changed) {
    const input = h('input', { type: 'checkbox', id: `filter-${name}` });
    input.addEventListener('change', () => changed(false));
    return {
      node: h('div', { class: 'switch' }, input, h('label', { for: input.id }, label)),
      read: () => only(name, input.checked ? 'true' : ''),
      show: (filters) => (input.checked = filters[name] === 'true'),
    };
  },

  // `last` is a period that goes on; `since` and `until` are fixed times, in UTC in the address.
  period({ label }, changed) {
    const select = selection('filter-last', PERIODS);
    const since = h('input', { type: 'datetime-local', id: 'filter-since', step: '1' });
    const until = h('input', { type: 'datetime-local', id: 'filter-until', step: '1' });
    const between = h('div', { class: 'between' }, labelled(since, 'From'), labelled(until, 'Before'));
    const arrange = () => (between.hidden = select.value !== 'between');
    select.addEventListener('change', () => {
      arrange();
      if (select.value === 'between') since.focus();
      else changed(false);
    });
    for (const input of [since, until]) input.addEventListener('change', () => changed(false));
    return {
      node: [labelled(select, label), between],
      read: () =>
        select.value === 'between'
          ? { ...only('since', fromLocal(since.value)), ...only('until', fromLocal(until.value)) }
          : only('last', select.value),
      show(filters) {
        const fixed = filters.since || filters.until;
        choose(select, fixed ? 'between' : (filters.last ?? ''));
        since.value = toLocal(filters.since);
        until.value = toLocal(filters.until);
        arrange();
      },
    };
  },
};

/** The filters as the API takes them: a period that goes on becomes a time. */
export function forApi({ last, ...filters }) {
  const minutes = PERIODS.find(([name]) => name === last)?.[2];
  return minutes ? { ...filters, since: new Date(Date.now() - minutes * 60_000).toISOString() } : filters;
}

const labelled = (input, label) => h('div', { class: 'field' }, h('label', { for: input.id }, label), input);

const selection = (id, options) =>
  h(
    'select',
    { id },
    options.map(([value, label]) => {
      const option = h('option', {}, label);
      option.value = value;
      return option;
    }),
  );

// A value of the address that is no option becomes one, so that the form never hides a filter.
function choose(select, value) {
  select.value = value;
  if (select.value === value) return;
  const option = h('option', {}, value);
  option.value = value;
  select.append(option);
  select.value = value;
}

function toLocal(text) {
  const date = new Date(text ?? NaN);
  if (Number.isNaN(date.getTime())) return '';
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function fromLocal(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? '' : date.toISOString();
}
