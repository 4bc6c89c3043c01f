/** Tables of the operators' page: rows that keep what has not changed, and the keys that move between them. */

import { h } from '../dom.js';
import { redraw } from './redraw.js';

/**
 * `columns`: {head, cell(item) => node, text or list, numeric?, low?, acts?}. A `low` column is hidden where there is
 * little room; one that `acts` has buttons and stays in view. `keyOf(item)` names a row. Arrow keys, j and k move between the rows that have a link.
 */
export class Table {
  node;
  #columns;
  #keyOf;
  #body = h('tbody');
  #rows = new Map();

  constructor({ label, columns, keyOf = ({ id }) => id }) {
    this.#columns = columns;
    this.#keyOf = keyOf;
    const heads = columns.map((column) => h('th', { scope: 'col', class: classOf(column) }, column.head));
    const table = h('table', {}, h('thead', {}, h('tr', {}, heads)), this.#body);
    this.node = h('div', { class: 'table', tabindex: '0', role: 'region', 'aria-label': label }, table);
    this.#body.addEventListener('keydown', (event) => this.#move(event));
    this.#body.addEventListener('click', open);
  }

  /** Show these items. A row whose item has not changed stays as it is. */
  show(items) {
    const rows = new Map();
    for (const item of items) rows.set(this.#keyOf(item), this.#row(item));
    this.#rows = rows;
    const nodes = [...rows.values()].map(({ node }) => node);
    const current = [...this.#body.children];
    if (nodes.length !== current.length || nodes.some((node, n) => node !== current[n])) {
      // Nodes that stand right already are not touched: a moved one would lose focus and selection.
      for (const node of current) if (!nodes.includes(node)) node.remove();
      nodes.forEach((node, n) => {
        if (this.#body.children[n] !== node) this.#body.insertBefore(node, this.#body.children[n] ?? null);
      });
    }
  }

  /** Focus the first row. */
  focus() {
    this.#links()[0]?.focus();
  }

  #row(item) {
    const kept = this.#rows.get(this.#keyOf(item)) ?? { node: h('tr'), json: null };
    const json = JSON.stringify(item);
    if (json !== kept.json) redraw(kept.node, this.#cells(item));
    return { node: kept.node, json };
  }

  #cells(item) {
    return this.#columns.map((column, n) => {
      const attributes = { class: classOf(column) };
      return n === 0
        ? h('th', { scope: 'row', ...attributes }, column.cell(item))
        : h('td', attributes, column.cell(item));
    });
  }

  #links() {
    return [...this.#body.querySelectorAll('tr')].map((row) => row.querySelector('a[href]')).filter(Boolean);
  }

  #move(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const links = this.#links();
    const at = links.findIndex((link) => link.closest('tr').contains(document.activeElement));
    const to = { ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1, Home: 0, End: links.length - 1 }[event.key];
    if (to === undefined || at < 0 || !links[to]) return;
    event.preventDefault();
    links[to].focus();
  }
}

const classOf = ({ numeric, low, acts }) =>
  [numeric && 'numeric', low && 'low', acts && 'acts'].filter(Boolean).join(' ');

// A click anywhere in a row opens it, unless it was for something in the row, or selected text.
function open(event) {
  if (event.target.closest('a, button, input, summary') || String(getSelection())) return;
  event.target.closest('tr')?.querySelector('a[data-opens]')?.click();
}
