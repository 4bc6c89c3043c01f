/** One generation: its facts, its line of life, its attempts, and the actions of administrators. */

import { h, icon } from '../dom.js';
import { address, generationAddress, userAddress } from './address.js';
import { attemptTable } from './attempts.js';
import { duration, money, NONE, seconds, count, counted } from './format.js';
import { generationActions } from './generation_actions.js';
import { textPanel } from './generation_text.js';
import { generationsOf, status } from './generations.js';
import { heading } from './heading.js';
import * as api from './ops_api.js';
import { bones, copyable, facts, panel, section, trouble } from './parts.js';
import { Poller } from './poller.js';
import { timeline } from './timeline.js';
import { ago, time } from './times.js';

const LIVE = 1000; // milliseconds between two looks while it runs
const ENDED = 60_000; // milliseconds, after its end
const RUNNING = ['queued', 'running'];

const isRunning = ({ status: name }) => RUNNING.includes(name);

export class GenerationView {
  node;
  #id;
  #app;
  #head;
  #poller;
  #has = false;
  #actions = h('div', { class: 'actions' });
  #body = h('div', { class: 'generation' }, bones(8));
  #shownActions = null;
  #parts = {
    state: section(stateLine, { class: 'state-line' }),
    facts: section(factList),
    timeline: section((item) => timeline(item.timeline, { running: isRunning(item) })),
    attempts: section(({ attempt_log: log }) => attemptTable(log ?? [])),
  };

  constructor(where, app) {
    this.#id = where.id;
    this.#app = app;
    app.named('Generation');
    this.#poller = new Poller({
      every: LIVE,
      load: async (signal) => this.#show(await api.generation(this.#id, signal)),
      onChange: () => this.#onChange(),
    });
    this.#head = heading('Generation', this.#poller, this.#actions);
    const back = h('a', { href: address('generations'), class: 'back-link' }, icon('back'), 'All generations');
    this.node = h('div', { class: 'view' }, back, this.#head.node, this.#body);
  }

  open() {
    this.#poller.start();
  }

  leave() {
    this.#poller.stop();
    this.#head.stop();
  }

  #show(item) {
    if (!this.#has) this.#build();
    this.#has = true;
    this.#parts.state.show(item);
    this.#parts.facts.show(item);
    this.#parts.timeline.show({ timeline: item.timeline, status: item.status });
    this.#parts.attempts.show({ attempt_log: item.attempt_log });
    this.#poller.every = isRunning(item) ? LIVE : ENDED;
    this.#showActions(item);
  }

  #build() {
    const { state, facts: list, timeline: line, attempts } = this.#parts;
    this.#body.replaceChildren(
      state.node,
      h(
        'div',
        { class: 'two-columns' },
        h(
          'div',
          { class: 'stack' },
          panel('Line of life', line.node),
          panel('Attempts', attempts.node),
          textPanel(this.#id, this.#app.mayRead),
        ),
        panel('Facts', list.node),
      ),
    );
  }

  // Operators see no buttons. They are made again only when others are possible.
  #showActions(item) {
    if (!this.#app.mayAct || this.#shownActions === item.status) return;
    this.#shownActions = item.status;
    const done = (made) => {
      if (made?.id && made.id !== this.#id) this.#app.go(generationAddress(made.id));
      else this.#poller.refresh();
    };
    this.#actions.replaceChildren(...generationActions(item, done));
  }

  #onChange() {
    const { problem } = this.#poller;
    if (!problem || this.#has) return;
    const missing = problem.status === 404 || problem.status === 422 || problem.status === 400;
    const shown = missing ? { message: 'There is no generation with this id.' } : problem;
    this.#body.replaceChildren(trouble(shown, missing ? null : () => this.#poller.refresh()));
    if (missing) this.leave();
  }
}

function stateLine(item) {
  return [
    status(item),
    copyable(item.id, { what: 'the id of the generation', whole: true }),
    item.error?.message ? h('p', { class: 'problem' }, item.error.message) : null,
  ].filter(Boolean);
}

function factList(item) {
  const { usage: used, latency_ms: latency } = item;
  return facts([
    ['User', h('a', { href: userAddress(item.user_id), class: 'link' }, item.user)],
    ['Model', item.model],
    ['Target', item.target ?? NONE],
    [
      'Worker',
      item.worker ? h('a', { href: generationsOf({ worker: item.worker }), class: 'link' }, item.worker) : NONE,
    ],
    ['Epoch', count(item.epoch)],
    item.lease_seconds !== null && ['Lease', lease(item.lease_seconds)],
    ['Created', [time(item.created_at), ' · ', ago(item.created_at)]],
    ['Started', time(item.started_at)],
    ['First token', [duration(latency?.first_token), item.first_token_at ? [' · ', time(item.first_token_at)] : null]],
    ['Finished', [duration(latency?.total), item.finished_at ? [' · ', time(item.finished_at)] : null]],
    ['Finish reason', item.finish_reason ?? NONE],
    ['Tokens', used ? `${count(used.input_tokens)} read, ${count(used.output_tokens)} written` : NONE],
    ['Cost', money(item.cost, item.currency)],
    ['Claims', `${count(item.tries)}, ${counted(item.dispatches, 'doorbell')} since the last`],
    ['Celery id', copyable(item.celery_id, { what: 'the Celery id' })],
    ['Request id', copyable(item.request_id, { what: 'the request id' })],
    ['Trace', trace(item)],
    ['Conversation', copyable(item.conversation_id, { what: 'the id of the conversation' })],
    ['Message', copyable(item.message_id, { what: 'the id of the message' })],
  ]);
}

const lease = (left) => (left < 0 ? `ended ${seconds(-left)} ago` : `${seconds(left)} left`);

function trace({ trace_id: id, trace_url: url }) {
  if (!id) return NONE;
  const link = /^https?:\/\//.test(url ?? '')
    ? h('a', { href: url, target: '_blank', rel: 'noopener noreferrer', class: 'link' }, 'Open the trace', icon('open'))
    : null;
  return [link, ' ', copyable(id, { what: 'the trace id' })];
}
