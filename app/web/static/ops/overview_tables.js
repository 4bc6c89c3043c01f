/** Tables of the overview. */

import { h } from '../dom.js';
import { count, NONE, seconds, words } from './format.js';
import { empty } from './parts.js';

/** A table without links. `rows`: lists of nodes or texts; the first of each is its head. */
export function simpleTable(label, heads, rows) {
  return h(
    'div',
    { class: 'table plain', tabindex: '0', role: 'region', 'aria-label': label },
    h(
      'table',
      {},
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          heads.map((head) => (head ? h('th', { scope: 'col' }, head) : h('td', {}))),
        ),
      ),
      h(
        'tbody',
        {},
        rows.map(([first, ...cells]) =>
          h(
            'tr',
            {},
            h('th', { scope: 'row' }, first),
            cells.map((cell) => h('td', {}, cell)),
          ),
        ),
      ),
    ),
  );
}

/** The queues, as GET /ops/queues has them. */
export function queueRows(items) {
  if (!items?.length) return empty('Nothing is known about the queues.');
  return simpleTable(
    'Queues',
    ['Queue', 'Waiting', 'Oldest', 'Running', 'Dead'],
    items.map(({ name, waiting, oldest_wait_seconds: oldest, running, slots, dead, broker_messages: messages }) => [
      h(
        'span',
        { class: 'two' },
        words(name),
        messages === null ? null : h('small', {}, `${count(messages)} at the broker`),
      ),
      count(waiting),
      waiting ? seconds(oldest) : NONE,
      slots === null || slots === undefined ? count(running) : `${count(running)} of ${count(slots)}`,
      count(dead),
    ]),
  );
}
