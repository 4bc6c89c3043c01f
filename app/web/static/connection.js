/** A sign with the state of the connection: live, reconnecting in n seconds, polling, offline. Hidden when idle. */

import { announce, h } from './dom.js';
import { explainRefusal } from './explanations.js';

const TEXTS = {
  connecting: () => 'Connecting…',
  live: () => 'Live',
  polling: () => 'Polling',
  waiting: (state, seconds) => `${waitingFor(state)} in ${seconds} s`,
  offline: (_, seconds) => `Offline, trying again in ${seconds} s`,
};
const EXPLANATIONS = {
  live: 'The answer arrives as it is written.',
  polling: 'Streaming is not possible here, so the page loads new text every few moments. No text is lost.',
  waiting: 'No text is lost: the server continues the answer.',
  offline: 'No text is lost: the server continues the answer.',
};

const ANNOUNCEMENTS = {
  live: 'Connected again.',
  polling: 'Polling.',
  waiting: 'Connection lost, trying again.',
  offline: 'Offline.',
};

const waitingFor = ({ status, problem }) => {
  if (status !== 429) return 'Reconnecting';
  return explainRefusal(status, problem).own ? 'Your limit, trying again' : 'Busy, trying again';
};

export class ConnectionChip {
  #text = h('span', {});
  #retry;
  #timer = null;
  #announced = null; // the problem that was announced

  constructor(onRetry) {
    this.#retry = h('button', { type: 'button', class: 'link', hidden: true, onclick: onRetry }, 'Try now');
    this.node = h('div', { class: 'connection', hidden: true }, h('i', {}), this.#text, this.#retry);
  }

  /** Show a state of stream.js. A state without a text, or null, hides the sign. */
  show(state) {
    clearInterval(this.#timer);
    const text = TEXTS[state?.name];
    this.node.hidden = !text;
    if (!text) return;
    this.#announce(state.name);
    this.node.dataset.state = state.name;
    this.node.title = EXPLANATIONS[state.name] ?? '';
    this.#retry.hidden = state.name !== 'waiting' && state.name !== 'offline';
    const update = () => {
      const seconds = state.retryAt ? Math.max(0, Math.ceil((state.retryAt - Date.now()) / 1000)) : null;
      const words = text(state, seconds);
      if (this.#text.textContent !== words) this.#text.textContent = words;
    };
    update();
    if (state.retryAt) this.#timer = setInterval(update, 250);
  }

  // A screen reader announces a problem and its end, once. The seconds are only shown.
  #announce(name) {
    if (name === 'connecting' || name === this.#announced) return;
    if (name !== 'live') announce(`${ANNOUNCEMENTS[name]} ${EXPLANATIONS[name]}`);
    else if (this.#announced) announce(ANNOUNCEMENTS.live);
    this.#announced = name === 'live' ? null : name;
  }
}
