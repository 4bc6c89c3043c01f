/** The line of life of a generation: its steps from top to bottom, with the time since its beginning. */

import { h } from '../dom.js';
import { counted, duration, words } from './format.js';
import { absolute, utc } from './times.js';

// The words and the tone of each step.
const STEPS = {
  requested: ['Requested', 'calm'],
  queued: ['Queued', 'calm'],
  claimed: ['Claimed by a worker', 'live'],
  first_token: ['First token', 'live'],
  checkpoint: ['Checkpoint', 'calm'],
  takeover: ['Taken over by another worker', 'warn'],
  failover: ['Failover to another target', 'warn'],
  retry: ['Tried again', 'warn'],
  released: ['Given back by its worker', 'warn'],
  cancel_requested: ['Cancel requested', 'warn'],
  cancelled: ['Cancelled', 'calm'],
  completed: ['Completed', 'good'],
  error: ['Ended as an error', 'bad'],
  fail_requested: ['End as an error requested', 'warn'],
  end: ['End', 'calm'],
};
const FEW = 3; // checkpoints in a row that are shown one by one

/** The timeline as a list. `steps`: [{at, what, worker, epoch, attempt, detail?}]. */
export function timeline(steps, { running }) {
  if (!steps?.length) return h('p', { class: 'hush' }, 'Nothing has been recorded yet.');
  const began = Date.parse(steps[0].at);
  const rows = gathered(steps).map((group) => row(group, began));
  if (running)
    rows.push(
      h('li', { class: 'live going' }, h('span', { class: 'when' }), h('div', {}, h('strong', {}, 'Running…'))),
    );
  return h('ol', { class: 'timeline' }, rows);
}

// Many checkpoints in a row are one entry.
function gathered(steps) {
  const groups = [];
  for (const step of steps) {
    const last = groups.at(-1);
    const alike = last && step.what === 'checkpoint' && last[0].what === 'checkpoint' && last[0].epoch === step.epoch;
    if (alike) last.push(step);
    else groups.push([step]);
  }
  return groups.flatMap((group) => (group.length > FEW ? [group] : group.map((step) => [step])));
}

// The end is named by its status.
const nameOf = ({ what, detail }) =>
  STEPS[what === 'end' ? detail?.status : what] ?? STEPS[what] ?? [words(what), 'calm'];

function row(group, began) {
  const [step] = group;
  const last = group.at(-1);
  const [name, tone] = nameOf(step);
  const many = group.length > 1;
  const parts = [
    step.worker && `on ${step.worker}`,
    step.epoch > 0 && `epoch ${step.epoch}`,
    step.attempt && `attempt ${step.attempt}`,
  ].filter(Boolean);
  return h(
    'li',
    { class: tone },
    h(
      'span',
      { class: 'when' },
      h('b', {}, since(step.at, began)),
      h('time', { datetime: step.at, title: utc(step.at) }, absolute(step.at)),
    ),
    h(
      'div',
      {},
      h('strong', {}, many ? `${group.length} checkpoints` : name),
      many && h('span', {}, `, the last ${since(last.at, began)}`),
      parts.length ? h('small', {}, parts.join(' · ')) : null,
      detail(last),
    ),
  );
}

const since = (at, began) => {
  const span = Date.parse(at) - began;
  return span ? `+${duration(span)}` : '0 s';
};

// What is worth a line of its own, by name; the status of an end is its name already.
const DETAILS = {
  events: (value) => `${counted(value, 'event')} stored`,
  lease_ended: (value) => `its lease ended at ${absolute(value)}`,
  finish_reason: (value) => `finish reason ${value}`,
  outcome: (value) => `the call before ended as ${words(String(value))}`,
  left: (value) => `left ${value}`,
  target: (value) => `now ${value}`,
  reason: (value) => REASONS[value] ?? words(String(value)),
  error: (value) => `error ${value}`,
  status: () => null,
};
const REASONS = { expired: 'the lease had expired', released: 'given back by its worker' };

function detail({ detail: given }) {
  if (given === null || typeof given !== 'object') return given ? h('small', {}, String(given)) : null;
  const texts = Object.entries(given)
    .filter(([, value]) => value !== null && value !== '')
    .map(([name, value]) => (DETAILS[name] ? DETAILS[name](value) : `${words(name)} ${plain(value)}`))
    .filter(Boolean);
  return texts.length ? h('small', {}, texts.join(' · ')) : null;
}

const plain = (value) => (typeof value === 'object' ? JSON.stringify(value) : String(value));
