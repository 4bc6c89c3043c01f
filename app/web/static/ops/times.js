/** Times in the zone of the viewer, with UTC in the title. Relative ones go on by themselves. */

import { h } from '../dom.js';
import { duration, NONE } from './format.js';

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const hours = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'short', hour: '2-digit', minute: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const STEP = 1000; // milliseconds
const NOW = 1500; // milliseconds; a time that is nearer is "now"
const MATTERS = 2000; // milliseconds by which a clock is off before it counts

let ahead = 0; // milliseconds by which the server's clock is ahead of this one

/** The time at the server, in milliseconds. */
export const now = () => Date.now() + ahead;

/** Compare the clocks: the server said `at` between the times `from` and `to` of this machine. */
export function compareClocks(at, from, to) {
  const difference = Date.parse(at) - (from + to) / 2;
  if (Number.isFinite(difference)) ahead = Math.abs(difference) > MATTERS ? difference : 0;
}

/** `2026-11-30 11:33:24 UTC` */
export const utc = (text) => `${new Date(text).toISOString().slice(0, 19).replace('T', ' ')} UTC`;

const isToday = (date) => date.toDateString() === new Date(now()).toDateString();

/** A time for reading: the time of today, or the date with it. */
export function absolute(text) {
  const date = new Date(text);
  return (isToday(date) ? clock : full).format(date);
}

/** A time to the minute; a day that is not today has its name. */
export function minute(text) {
  const date = new Date(text);
  return (isToday(date) ? hours : weekday).format(date);
}

/** `12 s ago`, `in 3 min`, `now`. */
export function relative(text) {
  const since = now() - Date.parse(text);
  if (Math.abs(since) < NOW) return 'now';
  // Whole seconds: a figure that changes each second needs no tenths.
  const span = duration(Math.round(Math.abs(since) / STEP) * STEP);
  return since > 0 ? `${span} ago` : `in ${span}`;
}

/** A time as a node, or a dash for none. */
export function time(text, { live = false } = {}) {
  if (!text) return NONE;
  const node = h('time', { datetime: text, title: live ? `${full.format(new Date(text))} (${utc(text)})` : utc(text) });
  node.textContent = live ? relative(text) : absolute(text);
  if (live) node.dataset.live = '';
  return node;
}

/** A time that says how long ago it was. */
export const ago = (text) => time(text, { live: true });

// One timer for all of them. A tab that nobody sees needs none.
setInterval(() => {
  if (document.hidden) return;
  for (const node of document.querySelectorAll('time[data-live]')) {
    const text = relative(node.dateTime);
    // The text node stays: a selection around it holds.
    if (node.firstChild.data !== text) node.firstChild.data = text;
  }
}, STEP);
