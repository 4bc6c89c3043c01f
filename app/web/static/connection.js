/** A sign with the state of the connection: live, reconnecting in n seconds, polling, offline. Hidden when idle. */

import { announce, h } from './dom.js';
import { explainRefusal } from './explanations.js';
import { t } from './texts.js';

const TEXTS = {
  connecting: () => t('connection.connecting'),
  live: () => t('connection.live'),
  polling: () => t('connection.polling'),
  waiting: (state, seconds) => waitingFor(state, seconds),
  offline: (_, seconds) => t('connection.offline', { seconds }),
};
const EXPLANATIONS = {
  live: t('connection.live_about'),
  polling: t('connection.polling_about'),
  waiting: t('connection.no_loss'),
  offline: t('connection.no_loss'),
};

const ANNOUNCEMENTS = {
  live: t('connection.live_again'),
  polling: t('connection.polling_now'),
  waiting: t('connection.lost'),
  offline: t('connection.offline_now'),
};

const waitingFor = ({ status, problem }, seconds) => {
  if (status !== 429) return t('connection.reconnecting', { seconds });
  const { own } = explainRefusal(status, problem);
  return own ? t('connection.own_limit', { seconds }) : t('connection.busy', { seconds });
};

export class ConnectionChip {
  #text = h('span', {});
  #retry;
  #timer = null;
  #announced = null; // the problem that was announced

  constructor(onRetry) {
    this.#retry = h('button', { type: 'button', class: 'link', hidden: true, onclick: onRetry }, t('connection.try_now'));
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
