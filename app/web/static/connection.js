/** How things stand with the open answer: live, reconnecting in n seconds, polling, offline. Silent when idle. */

import { announce, h } from './dom.js';

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
  waiting: 'Nothing is lost: what the server has accepted goes on being written.',
  offline: 'Nothing is lost: what the server has accepted goes on being written.',
};

const ANNOUNCEMENTS = {
  live: 'Connected again.',
  polling: 'Polling.',
  waiting: 'Connection lost, trying again.',
  offline: 'Offline.',
};

export class ConnectionChip {
  #text = h('span', {});
  #retry;
  #timer = null;
  #told = null; // the trouble that was announced

  constructor(onRetry) {
    this.#retry = h('button', { type: 'button', class: 'link', hidden: true, onclick: onRetry }, 'Try now');
    this.node = h('div', { class: 'connection', hidden: true }, h('i', {}), this.#text, this.#retry);
  }

  /** Show a state of stream.js; anything without a text, or null, is silence. */
  show(state) {
    clearInterval(this.#timer);
    const text = TEXTS[state?.name];
    this.node.hidden = !text;
    if (!text) return;
    this.#announce(state.name);
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

  // Who listens hears of trouble and of its end, once; the seconds are for those who look.
  #announce(name) {
    if (name === 'connecting' || name === this.#told) return;
    if (name !== 'live') announce(`${ANNOUNCEMENTS[name]} ${EXPLANATIONS[name]}`);
    else if (this.#told) announce(ANNOUNCEMENTS.live);
    this.#told = name === 'live' ? null : name;
  }
}
