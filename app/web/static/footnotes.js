/** Footnotes: their marks in the text, and the section at its end, numbered in the order of the marks. */

import { h, place } from './dom.js';
import { normal } from './references.js';
import { t } from './texts.js';

/** The mark of a footnote. Its number is set when all marks stand in their places. */
export function noteMark(label) {
  const name = normal(label);
  return h('sup', { class: 'note' }, h('button', { type: 'button', 'data-note': name }));
}

/** The section of footnotes at the end of `root`. */
export class Footnotes {
  #root;
  #list = h('ol', {});
  #shown = new Map(); // label → {node, body, back, block}
  #marks = new Map(); // label → its first mark

  constructor(root) {
    this.#root = root;
    this.node = h('section', { class: 'footnotes', 'aria-label': t('markdown.footnotes') }, this.#list);
    root.addEventListener('click', (event) => this.#follow(event.target.closest?.('[data-note], [data-back]')));
  }

  /** Show `notes` (label → block); `fill(body, before, block)` draws the blocks of one. */
  show(notes, fill) {
    if (notes.size === 0 && this.#shown.size === 0) return;
    for (const [label, block] of notes) {
      const shown = this.#shown.get(label) ?? noteNode(label);
      if (shown.block !== block || block.stale) fill(shown.body, shown.block, block);
      this.#shown.set(label, { ...shown, block });
    }
    for (const label of this.#shown.keys()) if (!notes.has(label)) this.#shown.delete(label);
    if (notes.size === 0) this.node.remove();
    else if (this.node.parentNode !== this.#root) this.#root.append(this.node);
    this.#number(notes);
  }

  // The notes have the order of their marks; one without a mark stands behind them.
  #number(notes) {
    const numbers = new Map();
    this.#marks.clear();
    for (const mark of this.#root.querySelectorAll('[data-note]')) {
      const label = mark.dataset.note;
      if (!this.#marks.has(label)) {
        this.#marks.set(label, mark);
        numbers.set(label, numbers.size + 1);
      }
      const number = String(numbers.get(label));
      if (mark.textContent !== number) {
        mark.textContent = number;
        mark.setAttribute('aria-label', t('markdown.footnote', { number }));
      }
    }
    const ordered = [...numbers.keys(), ...[...notes.keys()].filter((label) => !numbers.has(label))];
    const nodes = ordered.map((label) => this.#shown.get(label)).filter(Boolean);
    for (const { back } of nodes) back.hidden = !numbers.has(back.dataset.back);
    place(
      this.#list,
      nodes.map(({ node }) => node),
    );
  }

  #follow(button) {
    const { note, back } = button?.dataset ?? {};
    const target = note === undefined ? this.#marks.get(back) : this.#shown.get(note)?.back;
    if (!target || !this.#root.contains(button)) return;
    target.focus({ preventScroll: true });
    target.scrollIntoView({ block: 'center' });
  }
}

function noteNode(label) {
  const body = h('div', {});
  const name = t('markdown.footnote_back');
  const back = h('button', { type: 'button', class: 'back', 'data-back': label, 'aria-label': name, title: name }, '↩');
  return { node: h('li', {}, body, back), body, back, block: null };
}
