/** The head of a view: its heading, what stands beside it, and how old the data are. */

import { h } from '../dom.js';
import { Freshness } from './freshness.js';

/** {node, stop}. `poller`: the one whose data the view shows, or null. `beside`: nodes beside the heading. */
export function heading(text, poller, ...beside) {
  const fresh = poller ? new Freshness(poller) : null;
  const node = h(
    'header',
    { class: 'view-head' },
    h('h1', {}, text),
    fresh?.node,
    h('div', { class: 'beside' }, beside),
  );
  return { node, stop: () => fresh?.stop() };
}
