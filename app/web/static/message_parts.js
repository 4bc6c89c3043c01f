/** Parts that questions and answers share: the turn between versions, and the time. */

import { h, iconButton } from './dom.js';
import { locale, t } from './texts.js';

const time = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' });
const full = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' });

/** ‹ 2 of 3 ›: the versions of a message, and buttons to turn from one to the next. */
export class Variants {
  node = h('span', { class: 'variants', hidden: true });

  show({ index, count }, onTurn) {
    this.node.hidden = count < 2;
    if (count < 2) return;
    const button = (name, label, step, there) => iconButton(name, label, () => onTurn(step), { disabled: !there });
    this.node.replaceChildren(
      button('back', t('versions.previous'), -1, index > 0),
      h('span', {}, t('versions.place', { number: index + 1, count })),
      button('next', t('versions.next'), 1, index < count - 1),
    );
  }
}

/** The time of a message; without one, now. */
export function stamp(at) {
  const date = at ? new Date(at) : new Date();
  return h('time', { datetime: date.toISOString(), title: full.format(date) }, time.format(date));
}
