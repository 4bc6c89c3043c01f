/** The reasoning of the model, folded. Its line shows whether the model is still thinking. */

import { h, icon } from './dom.js';
import { MarkdownView } from './markdown.js';
import { t } from './texts.js';

export class Reasoning {
  #label = h('span', {});
  #body = h('div', {});
  #view = new MarkdownView(this.#body);
  #text = null;
  #since = null;
  #thinking = null;

  constructor() {
    this.node = h(
      'details',
      { class: 'reasoning', hidden: true },
      h('summary', {}, this.#label, icon('chevron')),
      this.#body,
    );
    this.node.addEventListener('toggle', () => this.#render());
  }

  show(text, thinking) {
    if (!text) {
      this.node.hidden = true;
      return;
    }
    this.node.hidden = false;
    if (thinking) this.#since ??= performance.now();
    if (thinking !== this.#thinking) {
      this.#thinking = thinking;
      this.node.classList.toggle('thinking', thinking);
      this.#label.textContent = thinking ? t('reasoning.now') : this.#past();
    }
    if (text === this.#text) return;
    this.#text = text;
    this.#render();
  }

  #past() {
    const seconds = this.#since === null ? 0 : Math.round((performance.now() - this.#since) / 1000);
    return seconds > 1 ? t('reasoning.past', { seconds }) : t('reasoning.name');
  }

  // Folded text is not drawn until the user opens it.
  #render() {
    if (this.node.open) this.#view.show(this.#text ?? '', { live: this.#thinking });
  }
}
