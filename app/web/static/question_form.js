/** The form that edits a message of the user: its text and its files. */

import { Attachments } from './attachments.js';
import { h } from './dom.js';
import { attachButton, filesIn } from './file_sources.js';
import { isGone } from './file_words.js';
import { t } from './texts.js';

const MOST_ROWS = 12;

/**
 * A form as {node, focus()}. `files`: those of the message. `box`: {limits, accepts}, see Attachments. `onSend(text,
 * files)` resolves to whether the new version is accepted; `files` is null where they are those of the message. `onClose()` is called when the form is done.
 */
export function questionForm({ text, files, box, onSend, onClose }) {
  const form = new QuestionForm(text, files, { onSend, onClose });
  form.bind(box);
  return form;
}

class QuestionForm {
  node;

  #text;
  #before; // {text, ids} of the message
  #attachments = new Attachments();
  #problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  #send = h('button', { type: 'submit', class: 'primary' }, t('question.send'));
  #handlers;

  constructor(text, files, handlers) {
    this.#handlers = handlers;
    // A new version cannot have a file that has been deleted.
    this.#before = { text, files: files.filter((about) => !isGone(about)) };
    this.#text = h('textarea', {
      'aria-label': t('question.edit'),
      rows: String(Math.min(MOST_ROWS, text.split('\n').length + 1)),
      dir: 'auto',
      value: text,
      onpaste: (event) => this.#paste(event),
      oninput: () => this.#changed(),
    });
    const cancel = h('button', { type: 'button', class: 'quiet', onclick: handlers.onClose }, t('common.cancel'));
    const attach = attachButton((chosen) => this.#add(chosen));
    this.node = h(
      'form',
      { class: 'edit', onsubmit: (event) => this.#submit(event), onkeydown: (event) => this.#key(event) },
      this.#problem,
      this.#attachments.node,
      this.#text,
      h('div', { class: 'choices' }, attach, cancel, this.#send),
    );
  }

  bind(box) {
    const onProblem = (why) => this.#complain(why);
    this.#attachments.bind({ ...box, onProblem, onChange: () => this.#changed(), focus: () => this.#text.focus() });
    this.#attachments.put(this.#before.files);
  }

  focus() {
    this.#text.focus();
    this.#text.setSelectionRange(this.#text.value.length, this.#text.value.length);
  }

  // The files of the new version; null where they are those of the message.
  get #newFiles() {
    const ids = (files) => files.map(({ file_id: id }) => id).join();
    const { files } = this.#attachments;
    return ids(files) === ids(this.#before.files) ? null : files;
  }

  #changed() {
    const { count, onTheirWay, objection } = this.#attachments;
    const empty = this.#text.value.trim() === '' && count === 0;
    this.#send.disabled = empty || onTheirWay > 0 || objection !== null;
    this.#send.textContent = onTheirWay > 0 ? t('question.uploading') : t('question.send');
  }

  #complain(why) {
    this.#problem.textContent = why ?? '';
    this.#problem.hidden = !why;
  }

  #add(files) {
    this.#complain(null);
    return this.#attachments.add(files);
  }

  #paste(event) {
    const files = filesIn(event.clipboardData);
    if (files.length && this.#add(files)) event.preventDefault();
  }

  async #submit(event) {
    event.preventDefault();
    if (this.#send.disabled) return;
    const { onSend, onClose } = this.#handlers;
    const [text, files] = [this.#text.value.trim(), this.#newFiles];
    const isSame = text === this.#before.text && files === null;
    if (isSame || (await onSend(text, files))) onClose();
  }

  #key(event) {
    if (event.key === 'Escape') this.#handlers.onClose();
    else if (event.key === 'Enter' && event.target === this.#text && !event.shiftKey && !event.isComposing)
      this.#submit(event);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
