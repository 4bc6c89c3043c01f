/** The column of messages. It follows the newest text until the user scrolls away. */

import { h, iconButton, place } from './dom.js';
import { t } from './texts.js';

const NEAR_END = 64; // pixels: closer than this to the end, it follows
const GLIDE = 500; // milliseconds

export class Thread {
  #column = h('div', { class: 'column', role: 'log', 'aria-label': t('thread.name'), 'aria-live': 'off' });
  #following = true;
  #gliding = 0; // time at which the page's own smooth scroll ends

  constructor() {
    const hands = () => (this.#gliding = 0);
    const handlers = { onscroll: () => this.#scrolled(), onwheel: hands, onpointerdown: hands, onkeydown: hands };
    this.node = h('div', { class: 'thread', tabindex: '-1', ...handlers }, this.#column);
    const down = () => this.toEnd({ smooth: true });
    this.jump = iconButton('down', t('thread.newest'), down, { class: 'icon-button jump', hidden: true });
    new ResizeObserver(() => this.#following && this.toEnd()).observe(this.#column);
  }

  /** Show a greeting in place of messages. */
  greet() {
    const words = t('thread.about');
    this.#column.replaceChildren(h('div', { class: 'greeting' }, h('h1', {}, greeting()), h('p', {}, words)));
  }

  /** Show a placeholder while messages are loaded. */
  wait() {
    this.#column.replaceChildren(skeleton());
  }

  /** Show exactly these nodes. */
  place(nodes) {
    place(this.#column, nodes);
  }

  /** Scroll to the newest message, and follow it while it grows. */
  toEnd({ smooth = false } = {}) {
    this.#following = true;
    const glide = smooth && !matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (glide) {
      this.#gliding = performance.now() + GLIDE;
      setTimeout(() => this.#following && this.toEnd(), GLIDE + 50);
    } else if (performance.now() < this.#gliding) return;
    this.node.scrollTo({ top: this.node.scrollHeight, behavior: glide ? 'smooth' : 'instant' });
  }

  /** Scroll to one of the nodes and highlight it. */
  reveal(node) {
    this.#following = false;
    node.classList.add('found');
    node.addEventListener('animationend', () => node.classList.remove('found'), { once: true });
    node.scrollIntoView({ block: 'start', behavior: 'instant' });
    this.#scrolled();
  }

  #scrolled() {
    if (performance.now() < this.#gliding) return;
    const { scrollHeight, scrollTop, clientHeight } = this.node;
    this.#following = scrollHeight - scrollTop - clientHeight < NEAR_END;
    this.jump.hidden = this.#following;
  }
}

function greeting(hour = new Date().getHours()) {
  if (hour < 5) return t('thread.night');
  if (hour < 12) return t('thread.morning');
  return hour < 18 ? t('thread.afternoon') : t('thread.evening');
}

function skeleton() {
  const line = (width) => h('i', { class: `bone w${width}` });
  return h(
    'div',
    { class: 'skeleton', 'aria-label': t('common.loading'), role: 'status' },
    h('div', { class: 'asked' }, line(40)),
    [90, 100, 80, 60].map(line),
    h('div', { class: 'asked' }, line(30)),
    [100, 90, 40].map(line),
  );
}
