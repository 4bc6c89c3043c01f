/** How things stand with the open answer: live, reconnecting in n seconds, polling, offline. Silent when idle. */

import { h } from './dom.js';

const TEXTS = {
  connecting: () => 'Connecting…',
  live: () => 'Live',
  polling: () => 'Polling',
  waiting: ({ status }, seconds) => `${status === 429 ? 'Busy, trying again' : 'Reconnecting'} in ${seconds} s`,
  offline: (_, seconds) => `Offline, trying again in ${seconds} s`,
};
const EXPLANATIONS = {
  live: 'The answer arrives as it is written.',
  polling: 'Streaming does not get through here, so the page asks every moment. Nothing is lost.',
  waiting: 'The answer goes on being written on the server. Nothing is lost.',
  offline: 'The answer goes on being written on the server. Nothing is lost.',
};

export class ConnectionChip {
  #text = h('span', {});
  #retry;
  #timer = null;

  constructor(onRetry) {
    this.#retry = h('button', { type: 'button', class: 'link', hidden: true, onclick: onRetry }, 'Try now');
    this.node = h('div', { class: 'connection', role: 'status', hidden: true }, h('i', {}), this.#text, this.#retry);
  }

  /** Show a state of stream.js; anything without a text, or null, is silence. */
  show(state) {
    clearInterval(this.#timer);
    const text = TEXTS[state?.name];
    this.node.hidden = !text;
    if (!text) return;
    this.node.dataset.state = state.name;
    this.node.title = EXPLANATIONS[state.name] ?? '';
    this.#retry.hidden = state.name !== 'waiting' && state.name !== 'offline';
    const tell = () => {
      const seconds = state.retryAt ? Math.max(0, Math.ceil((state.retryAt - Date.now()) / 1000)) : null;
      const words = text(state, seconds);
      if (this.#text.textContent !== words) this.#text.textContent = words;
    };
    tell();
    if (state.retryAt) this.#timer = setInterval(tell, 250);
  }
}
