/** The workers: what each has to do, and draining one before it is stopped. */

import { announce, h } from '../dom.js';
import { count, NONE } from './format.js';
import { generationsOf } from './generations.js';
import { heading } from './heading.js';
import * as api from './ops_api.js';
import { badge, bones, empty, meter, trouble } from './parts.js';
import { Poller } from './poller.js';
import { askReason } from './reason.js';
import { Table } from './table.js';
import { ago } from './times.js';

const EVERY = 2000; // milliseconds

const MODES = {
  label: 'Its running answers',
  options: [
    {
      value: 'finish',
      label: 'Finish here',
      note: 'The worker takes nothing new and goes on with its answers to their end.',
    },
    {
      value: 'hand_over',
      label: 'Hand over',
      note: 'Other workers go on with them at once. Readers see a short gap, and no text is lost.',
    },
  ],
};

export class WorkersView {
  node;
  #app;
  #head;
  #poller;
  #table;
  #body = h('div', {}, bones());
  #has = false;

  constructor(where, app) {
    this.#app = app;
    app.named('Workers');
    this.#table = new Table({ label: 'Workers', keyOf: ({ name }) => name, columns: this.#columns() });
    this.#poller = new Poller({
      every: EVERY,
      load: async (signal) => this.#show((await api.workers(signal)).items),
      onChange: () => this.#onChange(),
    });
    this.#head = heading('Workers', this.#poller);
    this.node = h('div', { class: 'view' }, this.#head.node, this.#body);
  }

  open() {
    this.#poller.start();
  }

  leave() {
    this.#poller.stop();
    this.#head.stop();
  }

  #columns() {
    const columns = [
      {
        head: 'Worker',
        cell: ({ name, version }) =>
          h(
            'span',
            { class: 'two' },
            h('a', { href: generationsOf({ worker: name }), class: 'link', title: `Generations of ${name}` }, name),
            h('small', {}, version ? `version ${version}` : 'version not known'),
          ),
      },
      { head: 'State', cell: state },
      {
        head: 'Running',
        cell: ({ running, slots }) => [`${count(running)} of ${count(slots)} `, meter(running, slots, 'Slots in use')],
      },
      { head: 'Started', low: true, cell: ({ started }) => ago(started) },
      { head: 'Last report', cell: ({ last_seen: at }) => ago(at) },
      { head: 'Drain', cell: drainState },
    ];
    if (this.#app.mayAct) columns.push({ head: 'Actions', acts: true, cell: (worker) => this.#actions(worker) });
    return columns;
  }

  #show(items) {
    this.#table.show(items);
    const shown = items.length ? this.#table.node : empty('No worker has reported. Answers wait until one starts.');
    if (this.#body.firstChild !== shown) this.#body.replaceChildren(shown);
    this.#has = true;
  }

  #onChange() {
    const { problem } = this.#poller;
    if (problem && !this.#has) this.#body.replaceChildren(trouble(problem, () => this.#poller.refresh()));
  }

  #actions({ name, state: now }) {
    if (now === 'lost') return h('small', {}, 'A lost worker cannot be drained.');
    const drains = now === 'draining';
    return h(
      'button',
      {
        type: 'button',
        class: 'outlined',
        'aria-label': `${drains ? 'Undrain' : 'Drain'} ${name}`,
        onclick: () => (drains ? this.#undrain(name) : this.#drain(name)),
      },
      drains ? 'Undrain…' : 'Drain…',
    );
  }

  async #drain(name) {
    const worker = await askReason({
      title: `Drain ${name}?`,
      text: 'It takes no new answers. When it has none left, it may be stopped. Nothing is stopped here.',
      action: 'Drain the worker',
      choices: MODES,
      act: (reason, mode) => api.drain(name, mode, reason),
    });
    this.#done(worker, `${name} is draining.`);
  }

  async #undrain(name) {
    const worker = await askReason({
      title: `Undrain ${name}?`,
      text: 'It takes new answers again.',
      action: 'Undrain the worker',
      act: (reason) => api.undrain(name, reason),
    });
    this.#done(worker, `${name} takes answers again.`);
  }

  #done(worker, text) {
    if (!worker) return;
    announce(text);
    this.#poller.refresh();
  }
}

const state = ({ state: name, may_stop: mayStop, warning }) =>
  h(
    'span',
    { class: 'states' },
    badge(name),
    mayStop && badge('may be stopped', { tone: 'good' }),
    warning && h('small', { class: 'caution' }, warning),
  );

function drainState({ drain }) {
  if (!drain) return NONE;
  const mode = { finish: 'finishes its answers', hand_over: 'hands its answers over' }[drain.mode] ?? drain.mode;
  return h(
    'span',
    { class: 'two' },
    h('span', {}, mode, ', since ', ago(drain.requested_at)),
    drain.reason && h('small', {}, drain.reason),
  );
}
