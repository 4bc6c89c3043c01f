/** A message of the user in the thread. */

import { copyButton, h, iconButton } from './dom.js';
import { messageFiles } from './message_files.js';
import { stamp, Variants } from './message_parts.js';
import { questionForm } from './question_form.js';
import { t } from './texts.js';

/** A message of the user: its files, and plain text, as typed. `id` is null until the server has accepted it. */
export class Question {
  id = null;

  #files;
  #shown; // the files and the bubble
  #footer;
  #variants = new Variants();
  #onEdit;
  #box;

  /**
   * `onEdit(question, text, files)` sends a new version, with the files of the old one for null; it resolves to whether the server has accepted it. `box`: the
   * limits and the model of new files, see Attachments.
   */
  constructor(
    { message_id: id = null, client_msg_id: clientId = null, content, created_at: at = null, attachments = [] },
    { onEdit = null, box = null } = {},
  ) {
    this.id = id;
    this.clientId = clientId;
    this.text = content;
    this.#files = attachments;
    this.#onEdit = onEdit;
    this.#box = box;
    this.#shown = h(
      'div',
      { class: 'said' },
      messageFiles(attachments),
      content !== '' && h('div', { class: 'bubble', dir: 'auto' }, content),
    );
    this.#footer = h(
      'footer',
      {},
      content !== '' && copyButton(t('question.copy'), () => this.text),
      onEdit && iconButton('pencil', t('question.edit'), () => this.edit()),
      this.#variants.node,
      stamp(at),
    );
    this.node = h(
      'article',
      { class: 'question', 'aria-label': t('question.name') },
      h('h2', { class: 'sr-only' }, t('question.name')),
      this.#shown,
      this.#footer,
    );
    this.node.classList.toggle('unsent', id === null);
  }

  /** The beginning of a name for the conversation: the text, or the name of a file. */
  get asked() {
    return this.text || (this.#files[0]?.filename ?? '');
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
    const form = questionForm({
      text: this.text,
      files: this.#files,
      box: this.#box,
      onSend: (text, files) => this.#onEdit(this, text, files),
      onClose: () => {
        form.node.replaceWith(this.#shown);
        this.#footer.hidden = false;
      },
    });
    this.#footer.hidden = true;
    this.#shown.replaceWith(form.node);
    form.focus();
  }
}
