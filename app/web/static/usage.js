/** The user's usage: a chart of the days, the sums of each model, and a table of the days. */

import * as api from './api.js';
import { h, icon } from './dom.js';
import { amounts } from './models.js';
import { frame, show } from './overlay.js';
import { locale, t } from './texts.js';

const DAY = 86_400_000;
const PERIODS = [7, 30, 90];
const SERIES = 4; // models with their own colour; the others share one
const [WIDTH, HEIGHT, GAP] = [600, 120, 0.25];
const SVG = 'http://www.w3.org/2000/svg';
const short = new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short', timeZone: 'UTC' });
const round = new Intl.NumberFormat(locale, { notation: 'compact', maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat(locale);

/** Show the usage in a dialog. `labelOf(name)` is the label of a model. */
export function usageDialog({ labelOf }) {
  const body = h('div', { class: 'usage' });
  const periods = h('div', { class: 'periods', role: 'group', 'aria-label': t('usage.period') });
  const choices = PERIODS.map((days) => h('button', { type: 'button', onclick: () => pick(days) }, t('usage.days', { count: days })));
  const pick = (days) => {
    choices.forEach((button, i) => button.setAttribute('aria-pressed', String(PERIODS[i] === days)));
    fill(body, days, labelOf);
  };
  periods.append(...choices);
  const dialog = frame(t('account.usage'), periods, body);
  dialog.classList.add('wide');
  const close = h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close('') }, t('common.close'));
  dialog.firstChild.append(h('div', { class: 'choices' }, close));
  pick(30);
  return show(dialog);
}

async function fill(body, days, labelOf) {
  const to = new Date().toISOString().slice(0, 10);
  const from = new Date(Date.parse(to) - (days - 1) * DAY).toISOString().slice(0, 10);
  body.setAttribute('aria-busy', 'true');
  try {
    const usage = await api.usage({ from, to });
    if (!usage.items.length) body.replaceChildren(h('p', { class: 'nothing' }, t('usage.none')));
    else body.replaceChildren(...pages(usage, daysBetween(from, days), labelOf));
  } catch (problem) {
    const again = h('button', { type: 'button', class: 'link', onclick: () => fill(body, days, labelOf) }, t('common.again'));
    body.replaceChildren(h('p', { class: 'nothing' }, problem.message, again));
  }
  body.removeAttribute('aria-busy');
}

const daysBetween = (from, count) =>
  Array.from({ length: count }, (_, i) => new Date(Date.parse(from) + i * DAY).toISOString().slice(0, 10));
const tokens = ({ input_tokens: read, output_tokens: written }) => read + written;
const sum = (items, field) => items.reduce((total, item) => total + field(item), 0);

function pages({ items, costs }, days, labelOf) {
  const models = [...groups(items, ({ model }) => model)];
  models.sort(([, one], [, other]) => sum(other, tokens) - sum(one, tokens));
  const colours = new Map(models.map(([model], i) => [model, Math.min(i, SERIES)]));
  const answers = sum(items, ({ generations }) => generations);
  const spent = t('usage.tokens', { count: sum(items, tokens) });
  const total = t('usage.total', { tokens: spent, count: answers });
  const paid = costs.map(({ cost, currency }) => amounts(currency)(cost)).join(' + ');
  return [
    h('p', { class: 'total' }, total, paid && ` · ${paid}`),
    plot(items, days, colours, labelOf),
    modelTable(models, colours, labelOf),
    dayTable(items, labelOf),
  ];
}

function groups(items, key) {
  const found = new Map();
  for (const item of items) found.set(key(item), [...(found.get(key(item)) ?? []), item]);
  return found;
}

// --- the picture ---------------------------------------------------------------------------------------------------

// A bar for each day, in layers of models. The tables below have the numbers.
function plot(items, days, colours, labelOf) {
  const byDay = groups(items, ({ day }) => day);
  const tallest = Math.max(...[...byDay.values()].map((of) => sum(of, tokens)), 1);
  const step = WIDTH / days.length;
  const svg = element('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  days.forEach((day, i) => {
    let top = HEIGHT;
    const of = [...(byDay.get(day) ?? [])].sort((one, other) => colours.get(one.model) - colours.get(other.model));
    const bar = element('g', {});
    for (const item of of) {
      const height = (tokens(item) / tallest) * HEIGHT;
      top -= height;
      bar.append(
        element('rect', {
          x: i * step + (step * GAP) / 2,
          y: top,
          width: step * (1 - GAP),
          height,
          class: `series-${colours.get(item.model)}`,
        }),
      );
    }
    if (of.length) bar.append(title(day, of, labelOf));
    svg.append(bar);
  });
  return h(
    'div',
    { class: 'plot' },
    h('span', { class: 'top' }, t('usage.most', { tokens: round.format(tallest) })),
    svg,
    h('div', { class: 'axis' }, h('span', {}, name(days[0])), h('span', {}, name(days.at(-1)))),
  );
}

function title(day, of, labelOf) {
  const node = element('title', {});
  const lines = of.map((item) => `${labelOf(item.model)}: ${t('usage.tokens', { count: tokens(item) })}`);
  node.textContent = [name(day), ...lines].join('\n');
  return node;
}

const name = (day) => short.format(new Date(day));

function element(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  return node;
}

// --- the numbers ---------------------------------------------------------------------------------------------------

const COLUMNS = [t('usage.answers'), t('usage.input'), t('usage.output'), t('usage.cost')];

function table(label, first, rows) {
  const heads = [first, ...COLUMNS].map((column) => h('th', { scope: 'col' }, column));
  return h(
    'div',
    { class: 'numbers', tabindex: '0', role: 'region', 'aria-label': label },
    h('table', {}, h('thead', {}, h('tr', {}, heads)), h('tbody', {}, rows)),
  );
}

const row = (first, items) =>
  h(
    'tr',
    {},
    h('th', { scope: 'row' }, first),
    h('td', {}, whole.format(sum(items, ({ generations }) => generations))),
    h('td', {}, whole.format(sum(items, ({ input_tokens: read }) => read))),
    h('td', {}, whole.format(sum(items, ({ output_tokens: written }) => written))),
    h('td', {}, costOf(items)),
  );

// The days of one model may have prices in different currencies, or none.
function costOf(items) {
  const paid = groups(items.filter(({ cost }) => cost !== null), ({ currency }) => currency);
  return [...paid].map(([currency, of]) => amounts(currency)(sum(of, ({ cost }) => Number(cost)))).join(' + ') || '–';
}

function modelTable(models, colours, labelOf) {
  const sign = (model) => h('i', { class: `series-${colours.get(model)}`, 'aria-hidden': 'true' });
  return table(
    t('usage.by_model'),
    t('model.name'),
    models.map(([model, items]) => row([sign(model), labelOf(model)], items)),
  );
}

function dayTable(items, labelOf) {
  const rows = items.map((item) => row(`${name(item.day)} · ${labelOf(item.model)}`, [item]));
  return h('details', { class: 'days' }, h('summary', {}, t('usage.day_by_day'), icon('chevron')), table(t('usage.by_day'), t('usage.day'), rows));
}
