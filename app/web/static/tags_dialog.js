/** The dialog with the tags of a conversation. */

import { announce, h, icon } from './dom.js';
import { frame, show } from './overlay.js';
import { t } from './texts.js';

const MOST = 8; // tags of a conversation, as the server has it
const LONGEST = 40; // characters of a tag

/**
 * Let the user choose the tags of a conversation. `known`: the tags of other conversations, which are suggested.
 * Resolves to the chosen tags, or to null.
 */
export async function tagsDialog({ title, tags, known }) {
  const field = new TagField(tags, known);
  const submit = (event) => {
    event.preventDefault();
    if (field.take()) dialog.close('save');
  };
  const choices = h(
    'div',
    { class: 'choices' },
    h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close('') }, t('common.cancel')),
    h('button', { type: 'submit', class: 'primary' }, t('common.save')),
  );
  const dialog = frame(
    t('actions.tags'),
    h('p', { class: 'about', dir: 'auto' }, title),
    h('form', { onsubmit: submit }, field.node, choices),
  );
  const done = show(dialog);
  field.focus();
  return (await done) === 'save' ? field.tags : null;
}

class TagField {
  tags;
  #known;
  #chips = h('ul', { class: 'chips', 'aria-label': t('tags.chosen') });
  #suggestions = h('div', { class: 'chips', role: 'group', 'aria-label': t('tags.known') });
  #problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  #input = h('input', {
    type: 'text',
    'aria-label': t('tags.new'),
    placeholder: t('tags.placeholder'),
    maxlength: String(LONGEST),
    autocomplete: 'off',
    autofocus: true,
    onkeydown: (event) => this.#key(event),
  });

  constructor(tags, known) {
    this.tags = [...tags];
    this.#known = known;
    this.node = h('div', { class: 'tag-field' }, this.#chips, this.#input, this.#problem, this.#suggestions);
    this.#draw();
  }

  focus() {
    this.#input.focus();
  }

  /** Take the written tag. Returns whether nothing is in the way of saving. */
  take() {
    const written = this.#input.value.replace(/\s+/g, ' ').replace(/^[\s#]+|\s+$/g, '');
    if (!written) return true;
    if (!this.#add(written)) return false;
    this.#input.value = '';
    return true;
  }

  #key(event) {
    if (event.isComposing) return;
    if (event.key === 'Backspace' && this.#input.value === '' && this.tags.length) this.#remove(this.tags.at(-1));
    // Enter in an empty field saves.
    if ((event.key !== 'Enter' && event.key !== ',') || !this.#input.value.trim()) return;
    event.preventDefault();
    this.take();
  }

  #add(tag) {
    const full = this.tags.length >= MOST && !this.tags.includes(tag);
    this.#problem.textContent = full ? t('tags.most', { count: MOST }) : '';
    this.#problem.hidden = !full;
    if (full) return false;
    if (!this.tags.includes(tag)) this.tags.push(tag);
    announce(t('tags.added', { tag }));
    this.#draw();
    return true;
  }

  #remove(tag) {
    this.tags = this.tags.filter((other) => other !== tag);
    this.#problem.hidden = true;
    announce(t('tags.removed', { tag }));
    this.#draw();
    this.focus();
  }

  #draw() {
    this.#chips.replaceChildren(...this.tags.map((tag) => h('li', {}, this.#chip(tag))));
    this.#chips.hidden = this.tags.length === 0;
    const others = this.#known.filter((tag) => !this.tags.includes(tag));
    this.#suggestions.replaceChildren(...others.map((tag) => this.#suggestion(tag)));
    this.#suggestions.hidden = others.length === 0;
  }

  #chip(tag) {
    const label = t('tags.remove', { tag });
    const attributes = { type: 'button', class: 'chip', 'aria-label': label, title: label };
    return h(
      'button',
      { ...attributes, onclick: () => this.#remove(tag) },
      h('span', { dir: 'auto' }, tag),
      icon('close'),
    );
  }

  #suggestion(tag) {
    const add = () => (this.#add(tag), this.focus());
    const attributes = { type: 'button', class: 'chip suggested', 'aria-label': t('tags.add', { tag }), onclick: add };
    return h('button', attributes, icon('plus'), h('span', { dir: 'auto' }, tag));
  }
}
