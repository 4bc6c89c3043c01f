/** Sections of the list of conversations, and the time of a row. */

import { timeOf } from './listing.js';
import { locale, t } from './texts.js';

const DAY = 86_400_000; // milliseconds
const AGES = [
  [0, t('list.today')],
  [1, t('list.yesterday')],
  [7, t('list.week')],
  [30, t('list.month')],
];
const EARLIER = t('list.earlier');

const clock = new Intl.DateTimeFormat(locale, { hour: 'numeric', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat(locale, { weekday: 'short' });
const day = new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short' });
const date = new Intl.DateTimeFormat(locale, { dateStyle: 'short' });

/** Conversations in sections, as [name, conversations]: the pinned ones first, the others by age. */
export function grouped(items) {
  const today = midnight();
  const groups = new Map([[t('list.pinned'), items.filter(({ pinned }) => pinned)]]);
  for (const item of items) {
    if (item.pinned) continue;
    const age = (today - timeOf(item)) / DAY;
    const [, name] = AGES.find(([days]) => age <= days) ?? [null, EARLIER];
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(item);
  }
  return [...groups].filter(([, members]) => members.length > 0);
}

/** The time of a moment in milliseconds, as short as it can be: an hour of today, a day of this week, a date. */
export function shortTime(at) {
  const [moment, today] = [new Date(at), midnight()];
  if (at >= today) return clock.format(moment);
  if (at >= today - 6 * DAY) return weekday.format(moment);
  return moment.getFullYear() === new Date(today).getFullYear() ? day.format(moment) : date.format(moment);
}

const midnight = () => new Date().setHours(0, 0, 0, 0);
