/** The rating of an answer: thumb up, thumb down, and a comment for the one who wants to write it. */

import { rate } from './conversations_api.js';
import { announce, h, iconButton } from './dom.js';
import './list_signs.js';
import { t } from './texts.js';
import { toast } from './toast.js';

const LONGEST = 2000; // characters of a comment
const touch = matchMedia('(pointer: coarse)');
const QUESTIONS = { 1: t('feedback.good_question'), [-1]: t('feedback.bad_question') };

export class Feedback {
  /** The two buttons. */
  node = h('span', { class: 'feedback', role: 'group', 'aria-label': t('feedback.name') });
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
    this.#buttons = [this.#button(1, 'good', t('feedback.good')), this.#button(-1, 'bad', t('feedback.bad'))];
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
    if (taken === null) announce(t('feedback.taken_back'));
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
      if (!text.value.trim() || (await this.#save(rating, text.value.trim()))) this.#close(t('feedback.thanks'));
    };
    const form = h(
      'form',
      { onsubmit: send, onkeydown: (event) => event.key === 'Escape' && (event.stopPropagation(), this.#close()) },
      h('label', {}, h('span', {}, QUESTIONS[rating], ' ', h('small', {}, t('feedback.optional'))), text),
      h(
        'div',
        { class: 'choices' },
        h('button', { type: 'button', class: 'quiet', onclick: () => this.#close() }, t('common.close')),
        h('button', { type: 'submit', class: 'primary' }, t('composer.send')),
      ),
    );
    this.form.replaceChildren(form);
    this.form.hidden = false;
    announce(t('feedback.rated'));
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
