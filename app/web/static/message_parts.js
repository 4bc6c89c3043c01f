/** Parts that questions and answers share: the turn between versions, and the time. */

import { h, iconButton } from './dom.js';

const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** ‹ 2 of 3 ›: the versions of a message, and buttons to turn from one to the next. */
export class Variants {
  node = h('span', { class: 'variants', hidden: true });

  show({ index, count }, onTurn) {
    this.node.hidden = count < 2;
    if (count < 2) return;
    const button = (name, label, step, there) => iconButton(name, label, () => onTurn(step), { disabled: !there });
    this.node.replaceChildren(
      button('back', 'Previous version', -1, index > 0),
      h('span', {}, `${index + 1} of ${count}`),
      button('next', 'Next version', 1, index < count - 1),
    );
  }
}

/** The time of a message; without one, now. */
export function stamp(at) {
  const date = at ? new Date(at) : new Date();
  return h('time', { datetime: date.toISOString(), title: full.format(date) }, time.format(date));
}
