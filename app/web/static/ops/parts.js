/** Small parts that the views share: badges, ids, facts, panels, empty places, sections that draw what has changed. */

import { copyButton, h, icon } from '../dom.js';
import { NONE, shortId, words } from './format.js';
import { redraw } from './redraw.js';

// The tone of each state: its colour and its sign. The word says it, too.
const TONES = {
  completed: 'good',
  delivered: 'good',
  working: 'good',
  closed: 'good',
  active: 'good',
  up: 'good',
  ok: 'good',
  running: 'live',
  generating: 'live',
  queued: 'calm',
  waiting: 'calm',
  cancelled: 'calm',
  ended: 'calm',
  draining: 'warn',
  half_open: 'warn',
  erasing: 'warn',
  stuck: 'bad',
  error: 'bad',
  failed: 'bad',
  lost: 'bad',
  dead: 'bad',
  open: 'bad',
  down: 'bad',
  blocked: 'bad',
};

/** A state as a word with a sign. `tone` is chosen by the state: good, live, calm, warn or bad. */
export function badge(state, { label = words(state), tone = TONES[state] ?? 'calm' } = {}) {
  return h('span', { class: `badge ${tone}` }, h('i', { 'aria-hidden': 'true' }), label);
}

/** A long id, shortened, with a button that copies all of it. `href` makes it a link. */
export function copyable(id, { href = null, what = 'id', whole = false } = {}) {
  if (!id) return NONE;
  const text = whole ? id : shortId(id);
  const shown = href ? h('a', { href, title: id, class: 'link' }, text) : h('span', { title: id }, text);
  return h(
    'span',
    { class: 'copyable' },
    shown,
    copyButton(`Copy ${what} ${text}`, () => id),
  );
}

/** Facts as a list of names and values; null leaves one out. */
export function facts(entries) {
  return h(
    'dl',
    { class: 'facts' },
    entries.filter(Boolean).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
  );
}

/** A part of a view with a heading. `extra` stands beside the heading. */
export function panel(title, content, { extra = null, className = '' } = {}) {
  return h(
    'section',
    { class: `panel ${className}`.trim(), 'aria-label': title },
    h('div', { class: 'panel-head' }, h('h2', {}, title), extra),
    content,
  );
}

/** A place without content: what would stand here, and why it does not. */
export const empty = (text, ...more) => h('div', { class: 'empty-place' }, h('p', {}, text), ...more);

/** A problem in the place of content, with a button that tries again. */
export function trouble(problem, again) {
  const text = problem.status === 403 ? 'You may not see this.' : problem.message;
  const button = again ? h('button', { type: 'button', class: 'quiet', onclick: again }, 'Try again') : null;
  return h('div', { class: 'empty-place', role: 'alert' }, icon('alert'), h('p', {}, text), button);
}

/** Bones in the form of rows, until data are there. */
export const bones = (rows = 6) =>
  h(
    'div',
    { class: 'skeleton', 'aria-hidden': 'true' },
    Array.from({ length: rows }, (_, n) => h('span', { class: `bone ${['w90', 'w70', 'w80', 'w60'][n % 4]}` })),
  );

/** A node that `render(data)` fills. `show(data)` draws only what has changed. */
export function section(render, attributes = {}) {
  const node = h('div', attributes);
  let drawn = null;
  const show = (data) => {
    const key = JSON.stringify(data);
    if (key === drawn) return;
    drawn = key;
    redraw(node, [...h('div', {}, render(data)).childNodes]);
  };
  return { node, show };
}

/** A part of the whole as a bar with words. */
export function meter(part, whole, label) {
  const bar = h('meter', { min: '0', max: String(whole || 1), 'aria-label': label });
  bar.value = part ?? 0;
  return bar;
}
