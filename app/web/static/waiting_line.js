/** The line under an answer that tells what it waits for. A screen reader hears a reason once, and no numbers. */

import { announce, h, icon } from './dom.js';
import { explainError } from './explanations.js';
import { WAITS } from './sentences.js';
import { t } from './texts.js';

// Reasons that also hold for an answer that has text already.
const ALWAYS = new Set(['worker']);
// Reasons that end with the first piece of the answer.
const BEFORE_TEXT = new Set(['retry', 'failover']);

const IN_QUEUE = new Set(['turn', 'conversation', 'own_limit', 'queue']);

export class WaitingLine {
  #words = h('span', {});
  node = h('div', { class: 'waiting', hidden: true }, icon('flow'), this.#words);
  #position = 0;
  #reason = null;
  #announced = null;
  #own = false; // the words are the page's own, as while it stops the answer

  /** Show words of the page; none: as long as the answer waits, nothing is known. */
  say(words) {
    this.#own = words !== '';
    this.#reason = null;
    this.#set(words);
  }

  /** The answer waits in the queue; `position` is its place, 0 when it is not known. */
  queued(position) {
    this.#position = position;
    this.explain(this.#reason ? { reason: this.#reason } : { reason: 'turn' });
  }

  /** A reason as the server names it (`waiting` of a generation); null when the model is at work. */
  explain(waiting) {
    if (this.#own) return;
    this.#reason = waiting?.reason ?? null;
    const words = waiting ? this.#wordsFor(waiting) : '';
    this.#set(words);
    if (waiting && this.#reason !== this.#announced)
      announce(IN_QUEUE.has(this.#reason) ? t('wait.message') : words);
    this.#announced = this.#reason;
  }

  /** An event has arrived: what it waited for has come. */
  clear() {
    if (this.#reason !== null || this.#own) this.say('');
    this.#position = 0;
  }

  /** Draw it for an answer that is `live`, with or without text. */
  draw(live, hasText) {
    this.node.hidden = !live || (hasText && !ALWAYS.has(this.#reason));
    if (hasText && BEFORE_TEXT.has(this.#reason)) this.say('');
  }

  #wordsFor({ reason, error, attempt, until }) {
    const words = WAITS[reason] ?? WAITS.turn;
    if (reason === 'queue' || reason === 'turn')
      return this.#position > 0 ? t('wait.number', { words, number: this.#position }) : words;
    if (reason === 'retry') return asked(error ? explainError({ code: error }).says : WAITS.retry, attempt);
    if (reason === 'worker') return within(until) ?? words;
    return words;
  }

  #set(words) {
    if (this.#words.textContent !== words) this.#words.textContent = words;
  }
}

const asked = (words, attempt) => (attempt ? t('wait.attempt', { words, attempt }) : t('wait.again', { words }));

// The lease ends then, and another process takes over within moments.
function within(until) {
  const seconds = until ? Math.ceil((new Date(until) - Date.now()) / 1000) : 0;
  return seconds > 0 ? t('wait.worker_in', { seconds }) : null;
}
