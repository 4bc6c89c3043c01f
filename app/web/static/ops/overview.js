/** The overview: the state of the service now, its last hour, and plots of the last hour or day. */

import { h, icon } from '../dom.js';
import { address } from './address.js';
import { compact, count, counted, duration, NONE, seconds } from './format.js';
import { heading } from './heading.js';
import * as api from './ops_api.js';
import { badge, bones, empty, meter, panel, section, trouble } from './parts.js';
import { Plots } from './plots.js';
import { Poller } from './poller.js';
import { queueRows, simpleTable } from './overview_tables.js';

const QUEUES_EVERY = 5000; // milliseconds
const TROUBLED = 0.05; // share of failed answers that is shown as a warning

export class OverviewView {
  node;
  #app;
  #head;
  #plots;
  #queues = section(queueRows);
  #poller;
  #unlisten;
  #sections = {
    health: section(health, { class: 'health' }),
    now: section(figuresOfNow, { class: 'figures' }),
    hour: section(figuresOfHour, { class: 'figures' }),
    errors: section(errors),
    upstreams: section(upstreams),
    stores: section(stores),
    webhooks: section(webhooks),
  };

  constructor(where, app) {
    this.#app = app;
    app.named('Overview');
    this.#head = heading('Overview', app.pulse);
    this.#plots = new Plots(where.filters, app);
    this.#poller = new Poller({
      every: QUEUES_EVERY,
      load: async (signal) => this.#queues.show((await api.queues(signal)).items),
      onChange: ({ problem, updatedAt }) => {
        if (problem && updatedAt === null) this.#queues.node.replaceChildren(trouble(problem));
      },
    });
    const of = this.#sections;
    of.now.node.append(bones(3));
    this.node = h(
      'div',
      { class: 'view overview' },
      this.#head.node,
      of.health.node,
      panel('Now', of.now.node),
      panel('Last hour', of.hour.node),
      this.#plots.node,
      h(
        'div',
        { class: 'pair' },
        panel('Errors of the last hour', of.errors.node),
        panel('Upstreams', of.upstreams.node),
        panel('Queues', this.#queues.node),
        h('div', { class: 'stack' }, panel('Stores', of.stores.node), panel('Webhooks', of.webhooks.node)),
      ),
    );
  }

  open() {
    this.#unlisten = this.#app.listen((overview) => this.#show(overview));
    this.#poller.start();
    this.#plots.open();
  }

  /** The filters have changed: the span of the plots. */
  move(where) {
    this.#plots.move(where.filters);
  }

  leave() {
    this.#unlisten?.();
    this.#poller.stop();
    this.#plots.leave();
    this.#head.stop();
  }

  #show(overview) {
    const of = this.#sections;
    of.health.show({ ready: overview.ready, reasons: overview.reasons, degraded: overview.degraded });
    of.now.show(overview);
    of.hour.show(overview.last_hour);
    of.errors.show(overview.last_hour?.errors ?? null);
    of.upstreams.show(overview.upstreams);
    of.stores.show(overview.stores);
    of.webhooks.show(overview.webhooks);
  }
}

// --- the state -----------------------------------------------------------------------------------------------------

function health({ ready, reasons, degraded }) {
  const state = ready ? (degraded?.length ? 'degraded' : 'ready') : 'not-ready';
  const title = { ready: 'Ready', degraded: 'Ready, with restrictions', 'not-ready': 'Not ready' }[state];
  const causes = [...(reasons ?? []), ...(degraded ?? [])];
  return h(
    'div',
    { class: `verdict ${state}` },
    icon(state === 'ready' ? 'check' : 'alert'),
    h('strong', {}, title),
    causes.length
      ? h(
          'ul',
          {},
          causes.map((cause) => h('li', {}, cause)),
        )
      : null,
  );
}

/** A figure with its name and a note. `tone`: warn or bad; `sign` says it in words. */
function figure(name, value, { note = null, tone = null, href = null, extra = null } = {}) {
  const label = href ? h('a', { href }, name) : name;
  return h(
    'div',
    { class: `figure${tone ? ` ${tone}` : ''}` },
    h('dt', {}, label),
    h('dd', {}, h('b', {}, value), note && h('small', {}, note), extra),
  );
}

const list = (...figures) => h('dl', { 'data-figures': figures.length }, figures);

function figuresOfNow({ waiting, oldest_wait_seconds: oldest, running, slots, stuck, workers, streams_open: streams }) {
  const { working, draining, lost } = workers ?? {};
  const others = [draining ? `${count(draining)} draining` : null, lost ? `${count(lost)} lost` : null].filter(Boolean);
  return list(
    figure('Waiting', count(waiting), {
      note: waiting ? `oldest ${seconds(oldest)}` : 'nothing waits',
      href: address('generations', { status: 'queued' }),
      tone: oldest > 15 ? 'warn' : null,
    }),
    figure('Running', count(running), {
      note: `of ${counted(slots, 'slot')}`,
      extra: slots ? meter(running, slots, 'Slots in use') : null,
      href: address('generations', { status: 'running' }),
    }),
    figure('Stuck', count(stuck), {
      note: stuck ? 'no worker has them' : 'none',
      href: address('generations', { stuck: 'true' }),
      tone: stuck ? 'bad' : null,
    }),
    figure('Workers', count(working), {
      note: others.join(', ') || 'all working',
      href: address('workers'),
      tone: lost || working === 0 ? 'bad' : null,
    }),
    figure('Open streams', count(streams), { note: 'readers connected' }),
  );
}

function figuresOfHour(hour) {
  if (!hour) return empty('Nothing is known about the last hour.');
  const { started, completed, failed, cancelled, takeovers, failovers } = hour;
  const ended = (completed ?? 0) + (failed ?? 0);
  return list(
    figure('Answers', count(started), { note: `${count(completed)} completed, ${count(cancelled)} cancelled` }),
    figure('Failed', count(failed), {
      note: ended ? `${((100 * failed) / ended).toFixed(1)} % of those that ended` : null,
      tone: ended && failed / ended > TROUBLED ? 'bad' : null,
      href: address('generations', { status: 'error', last: '1h' }),
    }),
    figure('First token', duration(hour.first_token_ms?.p50), {
      note: `p50; p95 ${duration(hour.first_token_ms?.p95)}`,
    }),
    figure('Whole answer', duration(hour.total_ms?.p50), { note: `p50; p95 ${duration(hour.total_ms?.p95)}` }),
    figure('Takeovers', count(takeovers), { note: `${counted(failovers, 'failover')} to another target` }),
    figure('Tokens', compact(hour.output_tokens), { note: `written; ${compact(hour.input_tokens)} read` }),
  );
}

// --- tables --------------------------------------------------------------------------------------------------------

function errors(items) {
  if (!items?.length) return empty('No answer has failed in the last hour.');
  const most = Math.max(...items.map((item) => item.count));
  return simpleTable(
    'Errors by reason',
    ['Reason', 'Answers', ''],
    items.map(({ code, count: number }) => [
      h('code', {}, code),
      count(number),
      meter(number, most, `Share of ${code}`),
    ]),
  );
}

function upstreams(items) {
  if (items === null) return empty('The breakers are not known while Redis is away.');
  if (!items?.length) return empty('No upstream is configured; the built-in models need none.');
  return simpleTable(
    'Upstreams',
    ['Name', 'Breaker', 'Failures', 'Models'],
    items.map(({ name, kind, breaker, failures, models }) => [
      h('span', { class: 'two' }, name, h('small', {}, kind ?? 'kind not known')),
      badge(breaker, { label: { closed: 'closed', open: 'open', half_open: 'half open' }[breaker] }),
      count(failures),
      models?.length ? models.join(', ') : NONE,
    ]),
  );
}

const STORES = { postgresql: 'PostgreSQL', redis: 'Redis', broker: 'Broker' };

function stores(found) {
  if (!found) return empty('Nothing is known about the stores.');
  return simpleTable(
    'Stores',
    ['Store', 'State', 'Latency'],
    Object.entries(found).map(([name, store]) => [
      STORES[name] ?? name,
      store ? badge(store.status) : NONE,
      duration(store?.latency_ms),
    ]),
  );
}

function webhooks(found) {
  if (!found) return empty('Nothing is known about webhooks.');
  const { waiting, oldest_seconds: oldest, dead } = found;
  return list(
    figure('Waiting', count(waiting), {
      note: waiting ? (oldest ? `overdue ${seconds(oldest)}` : 'none is overdue') : 'nothing waits',
    }),
    figure('Dead', count(dead), {
      note: 'gave up after all attempts',
      tone: dead ? 'bad' : null,
      href: address('dead-letters', { of: 'webhooks' }),
    }),
  );
}
