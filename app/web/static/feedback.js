/** The rating of an answer: thumb up, thumb down, and a comment for the one who wants to write it. */

import { rate } from './conversations_api.js';
import { announce, h, iconButton } from './dom.js';
import './list_signs.js';
import { toast } from './toast.js';

const LONGEST = 2000; // characters of a comment
const touch = matchMedia('(pointer: coarse)');
const QUESTIONS = { 1: 'What was good about it?', [-1]: 'What was wrong with it?' };

export class Feedback {
  /** The two buttons. */
  node = h('span', { class: 'feedback', role: 'group', 'aria-label': 'Rate this answer' });
  /** The place of the form for a comment. */
  form = h('div', { class: 'comment', hidden: true });
  #id;
  #rating;
  #comment;
  #buttons;

  /** `id()`: the id of the answer. `feedback`: what the user has said, {rating, comment}, or null. */
  constructor(id, feedback = null) {
    this.#id = id;
    this.#rating = feedback?.rating ?? null;
    this.#comment = feedback?.comment ?? '';
    this.#buttons = [this.#button(1, 'good', 'Good answer'), this.#button(-1, 'bad', 'Bad answer')];
    this.node.append(...this.#buttons.map(({ button }) => button));
    this.#draw();
  }

  #button(rating, name, label) {
    return { rating, button: iconButton(name, label, () => this.#press(rating)) };
  }

  async #press(rating) {
    const taken = rating === this.#rating ? null : rating;
    if (!(await this.#save(taken, ''))) return;
    this.#close();
    if (taken === null) announce('Rating taken back');
    else this.#ask(taken);
  }

  async #save(rating, comment) {
    try {
      await rate(this.#id(), rating, comment);
    } catch (problem) {
      toast(problem.message);
      return false;
    }
    [this.#rating, this.#comment] = [rating, comment];
    this.#draw();
    return true;
  }

  #draw() {
    for (const { rating, button } of this.#buttons)
      button.setAttribute('aria-pressed', String(rating === this.#rating));
  }

  #ask(rating) {
    const text = h('textarea', { rows: '2', maxlength: String(LONGEST), dir: 'auto', value: this.#comment });
    const send = async (event) => {
      event.preventDefault();
      if (!text.value.trim() || (await this.#save(rating, text.value.trim()))) this.#close('Thank you');
    };
    const form = h(
      'form',
      { onsubmit: send, onkeydown: (event) => event.key === 'Escape' && (event.stopPropagation(), this.#close()) },
      h('label', {}, h('span', {}, QUESTIONS[rating], ' ', h('small', {}, 'If you like')), text),
      h(
        'div',
        { class: 'choices' },
        h('button', { type: 'button', class: 'quiet', onclick: () => this.#close() }, 'Close'),
        h('button', { type: 'submit', class: 'primary' }, 'Send'),
      ),
    );
    this.form.replaceChildren(form);
    this.form.hidden = false;
    announce('Rated. You can add a comment.');
    // On a touch screen the focus would open the keyboard over the answer.
    if (!touch.matches) text.focus();
    form.scrollIntoView({ block: 'nearest' });
  }

  #close(words = '') {
    const had = this.form.contains(document.activeElement);
    this.form.hidden = true;
    this.form.replaceChildren();
    if (words) announce(words);
    if (had) this.#buttons.find(({ rating }) => rating === this.#rating)?.button.focus();
  }
}
