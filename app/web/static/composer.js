/** Where one writes. Enter sends, Shift+Enter is a new line, Escape stops; the text survives a refresh. */

import * as drafts from './drafts.js';
import { h, icon } from './dom.js';
import { chosen, meanwhilePicker } from './meanwhile.js';

const TALLEST = 260;
const touch = matchMedia('(hover: none) and (pointer: coarse)');

export class Composer {
  #place;
  #text;
  #send;
  #stop;
  #problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  #onSend;
  #onEditLast;
  #extra;
  #limit;
  #count = h('p', { class: 'count', role: 'status', hidden: true });
  #busy = false;
  #meanwhile = h('div', { class: 'meanwhile', hidden: true }, meanwhilePicker(() => this.#changed({ keep: false })));
  #hint = h(
    'p',
    { class: 'hint' },
    h('kbd', {}, 'Enter'),
    ' sends, ',
    h('kbd', {}, 'Shift'),
    ' ',
    h('kbd', {}, 'Enter'),
    ' is a new line',
  );

  constructor({ place, onSend, onStop, onEditLast, limit = Infinity, extra = null }) {
    this.#place = place;
    this.#onSend = onSend;
    this.#onEditLast = onEditLast;
    this.#limit = limit;
    this.#extra = extra;
    this.#text = h('textarea', {
      id: 'message',
      rows: '1',
      placeholder: 'Write a message',
      'aria-label': 'Message',
      autocomplete: 'off',
      enterkeyhint: touch.matches ? 'enter' : 'send',
      dir: 'auto',
      oninput: () => this.#changed(),
      onkeydown: (event) => this.#key(event),
    });
    this.#text.value = drafts.load(place);
    this.#send = h(
      'button',
      { type: 'submit', class: 'send', 'aria-label': 'Send', title: 'Send (Enter)' },
      icon('send'),
    );
    this.#stop = h(
      'button',
      {
        type: 'button',
        class: 'stop',
        'aria-label': 'Stop the answer',
        title: 'Stop (Esc)',
        hidden: true,
        onclick: onStop,
      },
      icon('stop'),
    );
    this.node = h(
      'form',
      { class: 'composer', onsubmit: (event) => this.#submit(event) },
      this.#problem,
      h(
        'div',
        { class: 'box', onclick: (event) => event.target === event.currentTarget && this.focus() },
        this.#text,
        extra,
        this.#count,
        h('div', { class: 'buttons' }, this.#stop, this.#send),
      ),
      this.#hint,
      this.#meanwhile,
    );
    this.#changed({ keep: false });
    // The box has its width only once it is in the page.
    requestAnimationFrame(() => this.#grow());
  }

  focus() {
    this.#text.focus({ preventScroll: true });
  }

  /** While an answer is written there is something to stop, and to choose. */
  set busy(busy) {
    this.#busy = busy;
    this.#stop.hidden = !busy;
    this.#meanwhile.hidden = !busy;
    this.#hint.hidden = busy;
    this.#changed({ keep: false });
  }

  /** The conversation has got its address: drafts move there, and there is nothing to choose any more. */
  settle(place) {
    drafts.save(this.#place, '');
    this.#place = place;
    drafts.save(place, this.#text.value);
    this.#extra?.remove();
    this.#grow();
  }

  /** Give back what could not be sent, and say why. */
  restore(text, why) {
    this.#text.value = [text, this.#text.value].filter(Boolean).join('\n');
    this.complain(why);
    this.#changed();
    this.focus();
  }

  complain(why) {
    this.#problem.textContent = why ?? '';
    this.#problem.hidden = !why;
  }

  #changed({ keep = true } = {}) {
    if (keep) drafts.save(this.#place, this.#text.value);
    const empty = this.#text.value.trim() === '';
    // The server counts code points, not halves of them.
    const length = this.#text.value.length > this.#limit * 0.9 ? [...this.#text.value].length : 0;
    this.#count.hidden = length <= this.#limit * 0.9;
    this.#count.textContent = `${length.toLocaleString()} of ${this.#limit.toLocaleString()} characters`;
    this.#count.classList.toggle('over', length > this.#limit);
    this.#send.disabled = empty || length > this.#limit;
    this.#send.hidden = empty && this.#busy;
    this.#send.title = this.#busy ? chosen().title : 'Send (Enter)';
    this.#grow();
  }

  #grow() {
    this.#text.style.height = 'auto';
    this.#text.style.height = `${Math.min(this.#text.scrollHeight, TALLEST)}px`;
    this.#text.classList.toggle('scrolls', this.#text.scrollHeight > TALLEST);
  }

  #key(event) {
    if (event.key === 'ArrowUp' && this.#text.value === '' && this.#onEditLast()) event.preventDefault();
    // While an input method composes, Enter chooses a word; on glass, Enter is the only way to a new line.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229 || touch.matches) return;
    event.preventDefault();
    this.node.requestSubmit();
  }

  #submit(event) {
    event.preventDefault();
    const text = this.#text.value.trim();
    if (!text || this.#send.disabled) return;
    this.complain(null);
    this.#text.value = '';
    this.#changed();
    this.#onSend(text);
  }
}
