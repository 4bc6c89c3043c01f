/** A message of the user in the thread, and the form that edits it. */

import { copyButton, h, iconButton } from './dom.js';
import { stamp, Variants } from './message_parts.js';

const MOST_ROWS = 12; // of the form

/** A message of the user: plain text, as typed. `id` is null until the server has accepted it. */
export class Question {
  id = null;

  #bubble;
  #footer;
  #variants = new Variants();
  #onEdit;

  constructor(
    { message_id: id = null, client_msg_id: clientId = null, content, created_at: at = null },
    { onEdit = null } = {},
  ) {
    this.id = id;
    this.clientId = clientId;
    this.text = content;
    this.#onEdit = onEdit;
    this.#bubble = h('div', { class: 'bubble', dir: 'auto' }, content);
    this.#footer = h(
      'footer',
      {},
      copyButton('Copy message', () => this.text),
      onEdit && iconButton('pencil', 'Edit message', () => this.edit()),
      this.#variants.node,
      stamp(at),
    );
    this.node = h(
      'article',
      { class: 'question', 'aria-label': 'You wrote' },
      h('h2', { class: 'sr-only' }, 'You wrote'),
      this.#bubble,
      this.#footer,
    );
    this.node.classList.toggle('unsent', id === null);
  }

  /** The server has accepted the message. */
  acknowledge(id) {
    this.id = id;
    this.node.classList.remove('unsent');
  }

  showVariants(place, onTurn) {
    this.#variants.show(place, onTurn);
  }

  /** Show the form. Another wording begins a new branch, and the old one stays. */
  edit() {
    if (!this.id || !this.#onEdit || this.node.querySelector('form')) return;
    const text = h('textarea', {
      'aria-label': 'Edit message',
      rows: String(Math.min(MOST_ROWS, this.text.split('\n').length + 1)),
      dir: 'auto',
      value: this.text,
    });
    const close = () => {
      form.replaceWith(this.#bubble);
      this.#footer.hidden = false;
    };
    const submit = async (event) => {
      event.preventDefault();
      const changed = text.value.trim();
      if (!changed || changed === this.text || (await this.#onEdit(this, changed))) close();
    };
    const form = h(
      'form',
      { class: 'edit', onsubmit: submit },
      text,
      h(
        'div',
        { class: 'choices' },
        h('button', { type: 'button', class: 'quiet', onclick: close }, 'Cancel'),
        h('button', { type: 'submit', class: 'primary' }, 'Send new version'),
      ),
    );
    form.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') close();
      else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) submit(event);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.#footer.hidden = true;
    this.#bubble.replaceWith(form);
    text.focus();
    text.setSelectionRange(text.value.length, text.value.length);
  }
}
