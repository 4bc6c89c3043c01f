/** A small sign with the number of other places where this conversation is open, while this page is visible. */

import { h, icon } from './dom.js';
import { t } from './texts.js';

const SETTLE = 1_200; // milliseconds: a connection that takes the place of another is counted twice for a moment

export class Presence {
  #id = null;
  #timer = null;
  #words = h('span', {});
  #left;
  #connection;

  /**
   * @param {AbortSignal} left aborts when the page shows something else
   * @param {() => object} connection returns the SharedConnection
   */
  constructor(left, connection) {
    this.#left = left;
    this.#connection = connection;
    this.node = h('div', { class: 'presence', hidden: true }, icon('people'), this.#words);
    document.addEventListener('visibilitychange', () => this.#tell(), { signal: left });
    left.addEventListener('abort', () => this.#tell(), { once: true });
  }

  /** Follow the presence of this conversation. */
  watch(id) {
    if (id === this.#id || this.#left.aborted) return;
    this.#id = id;
    this.#tell();
    this.show(this.#connection().connections(id));
  }

  /** Show the number of connections that follow the conversation; this browser's own is one of them. */
  show(connections) {
    clearTimeout(this.#timer);
    if (connections < 2) this.#draw(0);
    else this.#timer = setTimeout(() => this.#draw(connections - 1), SETTLE);
  }

  #tell() {
    const isShown = this.#id && !document.hidden && !this.#left.aborted;
    this.#connection().show(isShown ? [this.#id] : []);
  }

  #draw(others) {
    this.node.hidden = others < 1;
    this.node.title = t('presence.title', { count: others });
    this.#words.textContent = others > 0 ? t('presence.open', { count: others }) : '';
  }
}
