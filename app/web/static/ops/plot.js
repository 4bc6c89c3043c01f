/**
 * Plots of figures over time, drawn as SVG in the pixels of their place: axes with units, a line for each figure, gaps
 * where nothing is known. The pointer and the arrow keys read the values of one time; a table has all of them.
 */

import { h } from '../dom.js';
import { NONE } from './format.js';
import { niceTicks, timeTicks } from './plot_ticks.js';
import { minute, utc } from './times.js';

const SVG = 'http://www.w3.org/2000/svg';
const HEIGHT = 148; // pixels
const [LEFT, RIGHT, TOP, BOTTOM] = [52, 12, 10, 22];
const LABEL = 56; // pixels of a label of the axis of time
const STEPS = 3; // parts of the axis of values
const DOT = 2; // radius of a value that stands alone, in pixels
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

let ids = 0;

export class Plot {
  node;
  #lines;
  #format;
  #title;
  #unit = h('small');
  #unitOf;
  #svg = draw('svg', { 'aria-hidden': 'true', height: HEIGHT });
  #legend = h('div', { class: 'legend' });
  #field;
  #details;
  #data = null;
  #chosen = null; // the index of the point that is read, or null for the last one with values
  #width = 0;

  /**
   * `lines`: [{name, of(point)}], at most four. `format(value)` has the unit. `unit(series)` says what the values are.
   */
  constructor({ title, unit, lines, format }) {
    this.#title = title;
    this.#unitOf = unit;
    this.#lines = lines;
    this.#format = format;
    const id = `plot-${(ids += 1)}`;
    this.#field = h(
      'div',
      { class: 'plot-field', role: 'slider', tabindex: '0', 'aria-label': `${title}: time`, 'aria-valuemin': '0' },
      this.#svg,
    );
    this.#details = h('details', { class: 'plot-table', ontoggle: () => this.#drawTable() }, h('summary', {}, 'Table'));
    const head = h('div', { class: 'plot-head' }, h('h3', { id }, title, this.#unit), this.#legend);
    this.node = h('section', { class: 'plot-card', 'aria-labelledby': id }, head, this.#field, this.#details);
    this.#field.addEventListener('pointermove', (event) => this.#point(event));
    this.#field.addEventListener('pointerleave', () => this.#choose(null));
    this.#field.addEventListener('blur', () => this.#choose(null));
    this.#field.addEventListener('keydown', (event) => this.#key(event));
    new ResizeObserver(([{ contentRect }]) => this.#resize(contentRect.width)).observe(this.#field);
  }

  /** `series`: {points: [{at, …}], step_seconds}. */
  show(series) {
    this.#data = series;
    this.#unit.textContent = this.#unitOf(series);
    if (this.#chosen !== null) this.#chosen = Math.min(this.#chosen, series.points.length - 1);
    this.#field.setAttribute('aria-valuemax', String(Math.max(0, series.points.length - 1)));
    this.#draw();
    this.#read();
    this.#drawTable();
  }

  #resize(width) {
    if (Math.abs(width - this.#width) < 1) return;
    this.#width = width;
    this.#draw();
  }

  // --- the picture -------------------------------------------------------------------------------------------------

  #draw() {
    if (!this.#data || this.#width < LEFT + RIGHT) return;
    const { points } = this.#data;
    const values = this.#lines.flatMap(({ of }) => points.map(of)).filter(Number.isFinite);
    const ticks = values.length ? niceTicks(Math.max(...values, 0), STEPS) : [0];
    this.#svg.setAttribute('width', this.#width);
    const parts = [...this.#axisOfValues(ticks), ...this.#axisOfTime(points)];
    if (values.length) this.#lines.forEach((line, n) => parts.push(...this.#line(points, line, n, ticks.at(-1))));
    else parts.push(this.#text('No values yet', (LEFT + this.#width - RIGHT) / 2, HEIGHT / 2));
    this.#svg.replaceChildren(...parts);
    this.#drawMark();
  }

  // The share of the width that lies before a time.
  #share(time) {
    const [from, to] = spanOf(this.#data.points);
    return to > from ? (time - from) / (to - from) : 1;
  }

  #x = (time) => LEFT + this.#share(time) * (this.#width - LEFT - RIGHT);

  #y = (value, top) => HEIGHT - BOTTOM - (top ? value / top : 0) * (HEIGHT - TOP - BOTTOM);

  #text(content, x, y, anchor = 'middle') {
    const node = draw('text', { x, y, class: 'tick', 'text-anchor': anchor });
    node.textContent = content;
    return node;
  }

  #axisOfValues(ticks) {
    return ticks.flatMap((tick) => {
      const y = Math.round(this.#y(tick, ticks.at(-1))) + 0.5;
      return [
        draw('line', { x1: LEFT, x2: this.#width - RIGHT, y1: y, y2: y, class: tick ? 'rule' : 'base' }),
        this.#text(tick ? this.#format(tick) : '0', LEFT - 8, y + 3.5, 'end'),
      ];
    });
  }

  #axisOfTime(points) {
    const room = Math.max(2, Math.floor((this.#width - LEFT) / 90));
    return timeTicks(...spanOf(points), room).flatMap((time) => {
      const x = this.#x(time);
      const label = this.#text(clock.format(time), Math.min(x, this.#width - LABEL / 2), HEIGHT - 6);
      return [draw('line', { x1: x, x2: x, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4, class: 'base' }), label];
    });
  }

  // A line for each run of known values, and a dot where one stands alone.
  #line(points, { of }, n, top) {
    const runs = [[]];
    points.forEach((point) => {
      const value = of(point);
      if (Number.isFinite(value)) runs.at(-1).push([this.#x(Date.parse(point.at)), this.#y(value, top)]);
      else if (runs.at(-1).length) runs.push([]);
    });
    return runs
      .filter((run) => run.length)
      .map((run) =>
        run.length === 1
          ? draw('circle', { cx: run[0][0], cy: run[0][1], r: DOT, class: `dot-${n}` })
          : draw('polyline', { points: run.map((at) => at.map(rounded).join(',')).join(' '), class: `line-${n}` }),
      );
  }

  #drawMark() {
    this.#svg.querySelector('.mark-line')?.remove();
    if (this.#chosen === null || !this.#data.points.length) return;
    const x = Math.round(this.#x(Date.parse(this.#data.points[this.#chosen].at))) + 0.5;
    this.#svg.append(draw('line', { x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM, class: 'mark-line' }));
  }

  // --- reading values ----------------------------------------------------------------------------------------------

  #point({ clientX }) {
    if (!this.#data?.points.length) return;
    const share = (clientX - this.#field.getBoundingClientRect().left - LEFT) / (this.#width - LEFT - RIGHT);
    const last = this.#data.points.length - 1;
    this.#choose(Math.max(0, Math.min(last, Math.round(share * last))));
  }

  #key(event) {
    if (!this.#data?.points.length) return;
    const last = this.#data.points.length - 1;
    const from = this.#chosen ?? last + (event.key === 'ArrowRight' || event.key === 'ArrowUp' ? -1 : 1);
    const to = {
      ArrowLeft: from - 1,
      ArrowDown: from - 1,
      ArrowRight: from + 1,
      ArrowUp: from + 1,
      PageDown: from - 10,
      PageUp: from + 10,
      Home: 0,
      End: last,
    }[event.key];
    if (event.key === 'Escape') return this.#choose(null);
    if (to === undefined) return;
    event.preventDefault();
    this.#choose(Math.max(0, Math.min(last, to)));
  }

  #choose(n) {
    if (this.#chosen === n) return;
    this.#chosen = n;
    if (!this.#data) return;
    this.#drawMark();
    this.#read();
  }

  // The values of the chosen time, or the last known ones.
  #read() {
    const { points } = this.#data;
    const known = (point) => this.#lines.some(({ of }) => Number.isFinite(of(point)));
    const n = this.#chosen ?? points.findLastIndex(known);
    const point = points[n];
    const values = this.#lines.map(({ name, of }, line) => [name, point ? this.#format(of(point)) : NONE, line]);
    const when = point ? h('time', { datetime: point.at, title: utc(point.at) }, minute(point.at)) : NONE;
    this.#legend.replaceChildren(
      h('span', { class: 'when' }, when),
      ...values.map(([name, value, line]) =>
        h('span', {}, h('i', { class: `key-${line}`, 'aria-hidden': 'true' }), `${name} `, h('b', {}, value)),
      ),
    );
    const read = point
      ? `${minute(point.at)}: ${values.map(([name, value]) => `${name} ${value}`).join(', ')}`
      : 'No values';
    this.#field.setAttribute('aria-valuenow', String(Math.max(0, n)));
    this.#field.setAttribute('aria-valuetext', read);
  }

  #drawTable() {
    this.#details.querySelector('.table')?.remove();
    if (!this.#details.open || !this.#data) return;
    const heads = ['Time', ...this.#lines.map(({ name }) => name)];
    const rows = [...this.#data.points].reverse().map((point) =>
      h(
        'tr',
        {},
        h('th', { scope: 'row' }, h('time', { datetime: point.at, title: utc(point.at) }, minute(point.at))),
        this.#lines.map(({ of }) => h('td', { class: 'numeric' }, this.#format(of(point)))),
      ),
    );
    this.#details.append(
      h(
        'div',
        { class: 'table', tabindex: '0', role: 'region', 'aria-label': `${this.#title}, all values` },
        h(
          'table',
          {},
          h(
            'thead',
            {},
            h(
              'tr',
              {},
              heads.map((head, n) => h('th', { scope: 'col', class: n ? 'numeric' : null }, head)),
            ),
          ),
          h('tbody', {}, rows),
        ),
      ),
    );
  }
}

// The first and the last time, in milliseconds.
const spanOf = (points) => (points.length ? [points[0].at, points.at(-1).at].map((at) => Date.parse(at)) : [0, 0]);

const rounded = (value) => Math.round(value * 10) / 10;

function draw(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  return node;
}
