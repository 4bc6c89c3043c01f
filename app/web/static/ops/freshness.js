/** A line that tells how old the shown data are, and why no newer ones come. */

import { announce, h, icon } from '../dom.js';
import { duration } from './format.js';

const STEP = 1000; // milliseconds
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });

export class Freshness {
  node = h('p', { class: 'freshness' });
  #poller;
  #timer;
  #wasOld = false;
  #text = null;
  #again = h('button', { type: 'button', onclick: () => this.#poller.refresh() }, 'Read again');
  #unlisten;

  /** `poller`: the one whose replies are shown. */
  constructor(poller) {
    this.#poller = poller;
    this.#unlisten = poller.listen(() => this.show());
    this.#timer = setInterval(() => this.show(), STEP);
    this.show();
  }

  /** Nothing is read any more: say nothing about its age. */
  stop() {
    this.node.replaceChildren();
    clearInterval(this.#timer);
    this.#unlisten();
  }

  /** Draw the state of now. A change between fresh and old is announced; the count of seconds is not. */
  show() {
    const { isOld } = this.#poller;
    this.node.dataset.state = isOld ? 'old' : 'fresh';
    const text = isOld ? this.#old() : this.#fresh();
    if (this.#text !== text) this.#draw(text, isOld);
    if (isOld !== this.#wasOld) announce(isOld ? text : 'The data are up to date again.');
    this.#wasOld = isOld;
  }

  #draw(text, isOld) {
    this.#text = text;
    const { every, updatedAt } = this.#poller;
    this.node.replaceChildren(icon(isOld ? 'alert' : 'refresh'), text, ...(every || !updatedAt ? [] : [this.#again]));
  }

  #fresh() {
    const { updatedAt, every } = this.#poller;
    if (updatedAt === null) return 'Loading…';
    return every ? `Updates every ${duration(every)}` : `As of ${clock.format(updatedAt)}`;
  }

  #old() {
    const { updatedAt, problem } = this.#poller;
    const reason = problem ? ` ${problem.message}` : '';
    if (updatedAt === null) return `No data yet.${reason}`;
    const age = duration(Math.round((Date.now() - updatedAt) / STEP) * STEP);
    return `Last updated ${clock.format(updatedAt)}, ${age} ago.${reason}`;
  }
}
