/** Attaching files in the box for a message: paste, drafts, putting a text back, and the wait for uploads. */

import { Attachments } from './attachments.js';
import { announce, h } from './dom.js';
import * as drafts from './drafts.js';
import { attachButton, filesIn, LONG_PASTE, textFile } from './file_sources.js';
import { t } from './texts.js';

// Place → attachments. Uploads go on while the user looks at another conversation, and the box finds them again.
const begun = new Map();

export class ComposerFiles {
  node; // the list of attachments
  button;

  #place;
  #text;
  #attachments;
  #handlers;
  #then = null; // what waits for the uploads
  #wait = h('p', { class: 'note', role: 'status', hidden: true });
  #texts = 0;

  /**
   * `text`: the textarea. `limits()` and `accepts()`: see Attachments. `onChange()`: the files or the text are different.
   * `onProblem(sentence)`: something cannot be attached.
   */
  constructor({ place, text, limits, accepts, onChange, onProblem }) {
    this.#place = place;
    this.#text = text;
    this.#handlers = { limits, accepts, onChange, onProblem };
    this.button = attachButton((files) => this.add(files));
    text.addEventListener('paste', (event) => this.#paste(event));
    text.addEventListener('input', () => this.stopWaiting());
    this.#open();
    this.node = h('div', { class: 'tray' }, this.#attachments.node, this.#wait);
  }

  get count() {
    return this.#attachments.count;
  }

  /** Why the message cannot be sent, or null. */
  get objection() {
    return this.#attachments.objection;
  }

  /** Whether the message waits for uploads. */
  get waits() {
    return this.#then !== null;
  }

  /** Attach files of this browser. Returns the number of those that were attached. */
  add(files) {
    this.#handlers.onProblem(null);
    return this.#attachments.add(files);
  }

  /** Attach files that the server has. */
  put(files) {
    this.#attachments.put(files);
  }

  /** Take all files out, described as in messages. */
  take() {
    return this.#attachments.take();
  }

  /** Call `then` when all uploads are done. Returns whether there is something to wait for. */
  wait(then) {
    if (this.#attachments.onTheirWay === 0) return false;
    this.#then = then;
    this.#changed();
    return true;
  }

  /** Call nothing when the uploads are done. */
  stopWaiting() {
    if (!this.#then) return;
    this.#then = null;
    this.#changed();
  }

  /** The files belong to another place from now on. */
  move(place) {
    const from = this.#place;
    this.#place = place;
    if (this.count === 0 && begun.has(place)) return;
    drafts.saveFiles(from, []);
    begun.delete(from);
    begun.set(place, this.#attachments);
    drafts.saveFiles(place, this.#attachments.files);
  }

  /** Look again at the limits and at what the model takes. */
  refresh() {
    this.#attachments.refresh();
  }

  #open() {
    const known = begun.get(this.#place);
    this.#attachments = known ?? new Attachments();
    this.#attachments.bind({
      ...this.#handlers,
      onChange: () => this.#changed(),
      focus: () => this.#text.focus(),
      onText: (upload) => this.#putBack(upload),
    });
    if (known) return;
    begun.set(this.#place, this.#attachments);
    this.#attachments.put(drafts.loadFiles(this.#place), { check: true });
  }

  #changed() {
    drafts.saveFiles(this.#place, this.#attachments.files);
    const left = this.#attachments.onTheirWay;
    this.#wait.hidden = !this.#then || left === 0;
    const words = t('composer.waits', { count: left });
    if (!this.#wait.hidden && this.#wait.textContent !== words) this.#wait.textContent = words;
    const then = left === 0 ? this.#then : null;
    if (left === 0) this.#then = null;
    this.#handlers.onChange();
    if (then && !this.objection) then();
  }

  #paste(event) {
    const files = filesIn(event.clipboardData);
    const text = event.clipboardData.getData('text/plain');
    const taken = files.length ? this.add(files) : this.#pasteText(text);
    if (taken) event.preventDefault();
  }

  #pasteText(text) {
    if (text.length <= LONG_PASTE) return 0;
    this.#texts += 1;
    return this.add([textFile(text, this.#texts)]);
  }

  async #putBack(upload) {
    try {
      const text = await upload.text();
      this.#text.setRangeText(text, this.#text.selectionStart, this.#text.selectionEnd, 'end');
    } catch (problem) {
      this.#handlers.onProblem(problem.message);
      return;
    }
    this.#attachments.remove(upload);
    this.#text.focus();
    this.#text.dispatchEvent(new Event('input', { bubbles: true }));
    announce(t('composer.is_text', { name: upload.name }));
  }
}
