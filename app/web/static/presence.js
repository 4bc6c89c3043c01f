/** A small sign with the number of other places where this conversation is open, while this page is visible. */

import * as api from './api.js';
import { h, icon } from './dom.js';
import { Feed } from './feed.js';
import { proof } from './session.js';

const GLANCE = 1500; // milliseconds: a shorter visit is not counted

export class Presence {
  #id = null;
  #feed = null;
  #timer = null;
  #words = h('span', {});
  #left;

  /** @param {AbortSignal} left aborts when the page shows something else */
  constructor(left) {
    this.#left = left;
    this.node = h('div', { class: 'presence', hidden: true }, icon('people'), this.#words);
    document.addEventListener('visibilitychange', () => this.#look(), { signal: left });
    left.addEventListener('abort', () => this.#leave(), { once: true });
  }

  /** Follow the presence of this conversation. */
  watch(id) {
    if (id === this.#id) return;
    this.#id = id;
    this.#leave();
    this.#look();
  }

  #look() {
    clearTimeout(this.#timer);
    if (document.hidden) this.#leave();
    else if (this.#id && !this.#feed) this.#timer = setTimeout(() => this.#join(), GLANCE);
  }

  async #join() {
    const id = this.#id;
    const { feed_seq: number } = await api.conversation(id, this.#left).catch(() => ({}));
    if (number === undefined || this.#left.aborted || document.hidden || this.#feed || id !== this.#id) return;
    this.#feed = new Feed({
      url: `/api/v1/conversations/${encodeURIComponent(id)}/events`,
      token: proof,
      share: null,
      onEvent: ({ type, connections }) => type === 'presence' && this.#show(connections - 1),
      onMissed: () => {},
      onState: ({ name }) => name !== 'live' && this.#show(0),
    });
    this.#feed.begin(number);
  }

  #leave() {
    clearTimeout(this.#timer);
    this.#feed?.stop();
    this.#feed = null;
    this.#show(0);
  }

  #show(others) {
    this.node.hidden = others < 1;
    const where = others === 1 ? 'one other place' : `${others} other places`;
    this.node.title = `This conversation is open in ${where}`;
    this.#words.textContent = others > 0 ? `Also open in ${where}` : '';
  }
}
