/** The plots of the overview, for the last hour or the last day. */

import { h } from '../dom.js';
import { address } from './address.js';
import { compact, count, duration } from './format.js';
import * as api from './ops_api.js';
import { panel, trouble } from './parts.js';
import { Plot } from './plot.js';
import { Poller } from './poller.js';

const SPANS = [
  ['hour', 'Last hour'],
  ['day', 'Last day'],
];
const EVERY = { hour: 20_000, day: 120_000 }; // milliseconds

const perStep = ({ step_seconds: step }) => `in ${duration(step * 1000)}`;
const line = (name, of) => ({ name, of });
const makePlots = () => [
  new Plot({
    title: 'Answers',
    unit: perStep,
    format: count,
    lines: [
      line('completed', (point) => point.completed),
      line('failed', (point) => point.failed),
      line('cancelled', (point) => point.cancelled),
      line('taken over', (point) => point.takeovers),
    ],
  }),
  new Plot({
    title: 'First token',
    unit: () => 'time from the request',
    format: duration,
    lines: [line('p50', (point) => point.first_token_ms?.p50), line('p95', (point) => point.first_token_ms?.p95)],
  }),
  new Plot({
    title: 'Whole answer',
    unit: () => 'time from the request',
    format: duration,
    lines: [line('p50', (point) => point.total_ms?.p50), line('p95', (point) => point.total_ms?.p95)],
  }),
  new Plot({
    title: 'Slots',
    unit: () => 'answers',
    format: count,
    lines: [
      line('running', (point) => point.running),
      line('waiting', (point) => point.waiting),
      line('slots', (point) => point.slots),
    ],
  }),
  new Plot({
    title: 'Connections',
    unit: () => 'streams and deliveries',
    format: count,
    lines: [
      line('open streams', (point) => point.streams_open),
      line('webhooks waiting', (point) => point.webhooks_waiting),
    ],
  }),
  new Plot({
    title: 'Tokens',
    unit: perStep,
    format: compact,
    lines: [line('written', (point) => point.output_tokens), line('read', (point) => point.input_tokens)],
  }),
];

export class Plots {
  node;
  #span;
  #plots = makePlots();
  #body = h('div', { class: 'plots' });
  #links;
  #poller;
  #step = h('small');
  #has = false;

  constructor(filters) {
    this.#span = spanOf(filters);
    this.#links = SPANS.map(([span, label]) =>
      h('a', { href: address('overview', { span: span === 'hour' ? '' : span }) }, label),
    );
    const choice = h('div', { class: 'spans', role: 'group', 'aria-label': 'Time of the plots' }, this.#links);
    this.node = panel('Over time', this.#body, { extra: [this.#step, choice] });
    this.#poller = new Poller({
      every: EVERY[this.#span],
      load: (signal) => this.#load(signal),
      onChange: () => this.#onChange(),
    });
    this.#body.append(...this.#plots.map((plot) => plot.node));
    this.#mark();
  }

  open() {
    this.#poller.start();
  }

  leave() {
    this.#poller.stop();
  }

  /** Show the span of these filters. */
  move(filters) {
    if (spanOf(filters) === this.#span) return;
    this.#span = spanOf(filters);
    this.#mark();
    this.#body.setAttribute('aria-busy', 'true');
    this.#poller.every = EVERY[this.#span];
    this.#poller.restart();
  }

  #mark() {
    SPANS.forEach(([span], n) => {
      if (span === this.#span) this.#links[n].setAttribute('aria-current', 'true');
      else this.#links[n].removeAttribute('aria-current');
    });
  }

  async #load(signal) {
    const span = this.#span;
    const found = await api.series(span, signal);
    if (span !== this.#span) return;
    this.#has = true;
    this.#step.textContent = `one point each ${duration(found.step_seconds * 1000)}`;
    for (const plot of this.#plots) plot.show(found);
    this.#body.removeAttribute('aria-busy');
  }

  #onChange() {
    const { problem } = this.#poller;
    if (problem && !this.#has) this.#body.replaceChildren(trouble(problem, () => this.#poller.refresh()));
    else if (!this.#plots[0].node.isConnected) this.#body.replaceChildren(...this.#plots.map((plot) => plot.node));
  }
}

const spanOf = ({ span }) => (span === 'day' ? 'day' : 'hour');
