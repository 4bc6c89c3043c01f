/** The box for a message. Enter sends, Shift+Enter is a new line, Escape stops; the text survives a refresh. */

import { busyPolicyPicker, chosen } from './busy_policy.js';
import { Complaint } from './complaint.js';
import { ComposerFiles } from './composer_files.js';
import * as drafts from './drafts.js';
import { h, icon } from './dom.js';
import { parts, t } from './texts.js';

const TALLEST = 260; // pixels; beyond it the text scrolls
const touch = matchMedia('(hover: none) and (pointer: coarse)');

export class Composer {
  #place;
  #text;
  #send;
  #stop;
  #problem = new Complaint();
  #onSend;
  #onEditLast;
  #limit;
  #files;
  #count = h('p', { class: 'count', role: 'status', hidden: true });
  #busy = false;
  #policy = h(
    'div',
    { class: 'busy-policy', hidden: true },
    busyPolicyPicker(() => this.#changed({ keep: false })),
  );
  #hint = h(
    'p',
    { class: 'hint' },
    parts('composer.hint', {
      enter: h('kbd', {}, t('key.enter')),
      shift: h('span', { dir: 'ltr' }, h('kbd', {}, t('key.shift')), ' ', h('kbd', {}, t('key.enter'))),
    }),
  );

  /**
   * `onSend(text, files)`, `onStop()`, `onEditLast()`: what the user wants. `limit`: characters of a message. `extra`: a
   * node beside the buttons. `limits` and `accepts`: see ComposerFiles.
   */
  constructor({ place, onSend, onStop, onEditLast, limit = Infinity, extra = null, limits, accepts }) {
    this.#place = place;
    this.#onSend = onSend;
    this.#onEditLast = onEditLast;
    this.#limit = limit;
    this.#text = h('textarea', {
      id: 'message',
      rows: '1',
      placeholder: t('composer.placeholder'),
      'aria-label': t('composer.name'),
      autocomplete: 'off',
      enterkeyhint: touch.matches ? 'enter' : 'send',
      dir: 'auto',
      oninput: () => this.#changed(),
      onkeydown: (event) => this.#key(event),
    });
    this.#text.value = drafts.load(place);
    const [onChange, onProblem] = [() => this.#send && this.#changed({ keep: false }), (why) => this.complain(why)];
    this.#files = new ComposerFiles({ place, text: this.#text, limits, accepts, onChange, onProblem });
    this.#send = h(
      'button',
      { type: 'submit', class: 'send', 'aria-label': t('composer.send'), title: t('composer.send_title') },
      icon('send'),
    );
    this.#stop = h(
      'button',
      {
        type: 'button',
        class: 'stop',
        'aria-label': t('composer.stop'),
        title: t('composer.stop_title'),
        hidden: true,
        onclick: onStop,
      },
      icon('stop'),
    );
    this.node = h(
      'form',
      { class: 'composer', onsubmit: (event) => this.#submit(event) },
      this.#problem.node,
      h(
        'div',
        { class: 'box', onclick: (event) => event.target === event.currentTarget && this.focus() },
        this.#files.node,
        this.#text,
        this.#files.button,
        extra,
        this.#count,
        h('div', { class: 'buttons' }, this.#stop, this.#send),
      ),
      this.#hint,
      this.#policy,
    );
    this.#changed({ keep: false });
    // The box has a width only when it is in the page.
    requestAnimationFrame(() => this.#grow());
  }

  focus() {
    this.#text.focus({ preventScroll: true });
  }

  /** Attach files of this browser. */
  attach(files) {
    this.#files.add(files);
    this.focus();
  }

  /** Another model has been chosen, or the limits are known: look again at what can be sent. */
  refresh() {
    this.#files.refresh();
    this.#changed({ keep: false });
  }

  /** While an answer is written, the button to stop it and the policy are shown. */
  set busy(busy) {
    this.#busy = busy;
    this.#stop.hidden = !busy;
    this.#policy.hidden = !busy;
    this.#hint.hidden = busy;
    this.#changed({ keep: false });
  }

  /** The conversation has its address: the draft moves there. */
  settle(place) {
    this.move(place);
    this.#grow();
  }

  /** The draft belongs to another place from now on. */
  move(place) {
    this.#files.move(place);
    if (this.#text.value) drafts.save(place, this.#text.value);
    drafts.save(this.#place, '');
    this.#place = place;
  }

  /** Put a message that was not sent back into the box, with the reason. */
  restore(text, why, files = []) {
    this.#files.put(files);
    this.#text.value = [text, this.#text.value].filter(Boolean).join('\n');
    this.complain(why);
    this.#changed();
    this.focus();
  }

  /** Show a problem above the box, a text or an explanation of explanations.js; null hides it. */
  complain(why) {
    this.#problem.show(why);
  }

  #changed({ keep = true } = {}) {
    if (keep) drafts.save(this.#place, this.#text.value);
    const empty = this.#text.value.trim() === '' && this.#files.count === 0;
    // The server counts code points, not UTF-16 units.
    const length = this.#text.value.length > this.#limit * 0.9 ? [...this.#text.value].length : 0;
    this.#count.hidden = length <= this.#limit * 0.9;
    this.#count.textContent = t('composer.length', { length, most: this.#limit });
    this.#count.classList.toggle('over', length > this.#limit);
    this.#send.disabled = empty || length > this.#limit || this.#files.objection !== null;
    this.#send.hidden = empty && this.#busy;
    this.#showWait();
    this.#grow();
  }

  // A message that waits for uploads can still be held back.
  #showWait() {
    const { waits } = this.#files;
    const title = this.#busy ? chosen().title : t('composer.send_title');
    this.#send.title = waits ? t('policy.reject') : title;
    this.#send.setAttribute('aria-label', waits ? t('policy.reject') : t('composer.send'));
    if (this.#send.classList.toggle('waits', waits) !== this.#send.firstChild.matches('.icon-flow'))
      this.#send.replaceChildren(icon(waits ? 'flow' : 'send'));
  }

  #grow() {
    this.#text.style.height = 'auto';
    this.#text.style.height = `${Math.min(this.#text.scrollHeight, TALLEST)}px`;
    this.#text.classList.toggle('scrolls', this.#text.scrollHeight > TALLEST);
  }

  #key(event) {
    if (event.key === 'Escape' && this.#files.waits) {
      event.preventDefault();
      this.#files.stopWaiting();
    }
    if (event.key === 'ArrowUp' && this.#text.value === '' && this.#onEditLast()) event.preventDefault();
    // In an input method Enter chooses a word. On a touch screen Enter is the only key for a new line.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229 || touch.matches) return;
    event.preventDefault();
    this.node.requestSubmit();
  }

  #submit(event) {
    event.preventDefault();
    if (this.#send.disabled) return;
    this.complain(null);
    if (this.#files.waits && event.submitter) this.#files.stopWaiting();
    else if (!this.#files.wait(() => this.#sendNow())) this.#sendNow();
  }

  #sendNow() {
    const text = this.#text.value.trim();
    const files = this.#files.take();
    if (!text && !files.length) return;
    this.#text.value = '';
    this.#changed();
    this.#onSend(text, files);
  }
}
