/** The attachments of a message that is being written: their uploads, their limits, and what keeps them from being sent. */

import { AttachmentChip } from './attachment_chip.js';
import { announce, h } from './dom.js';
import { bytesAsTheyAre, isReadAsText, namesText, sizeText, whyNot } from './file_words.js';
import { t } from './texts.js';
import { Upload } from './upload.js';

// The server's own limits, until it has named them.
const USUAL = { attachments: 10, file_bytes: 33_554_432, prompt_file_bytes: 15_728_640 };
const TEXT_BYTES = 400_000; // of a text file that can be put into the message

export class Attachments {
  #list = h('ul', { 'aria-label': t('attachment.list') });
  #note = h('p', { class: 'note', role: 'status', hidden: true });
  node = h('div', { class: 'attachments', hidden: true }, this.#list, this.#note);

  #items = []; // {upload, chip}
  #box = null; // see bind

  /**
   * Belong to a box for a message, with these functions. `limits()`: {attachments, file_bytes, prompt_file_bytes} of the server.
   * `accepts()`: {label, images} of the chosen model. `onChange()`: something is different. `onProblem(text)`: a
   * file cannot be attached. `focus()`: the last attachment is gone, and with it the focus. `onText(upload)`: the user
   * wants a text file as part of the message; without it there is no such button.
   */
  bind({ limits, accepts, onChange, onProblem, focus, onText = null }) {
    this.#box = { limits: () => ({ ...USUAL, ...limits() }), accepts, onChange, onProblem, focus, onText };
    this.refresh();
  }

  get count() {
    return this.#items.length;
  }

  /** The number of files that are on their way. */
  get onTheirWay() {
    return this.#uploads.filter(({ onItsWay }) => onItsWay).length;
  }

  /** Why the message cannot be sent with these attachments, or null. */
  get objection() {
    const failed = this.#uploads.filter(({ state }) => state === 'failed');
    if (!failed.length) return this.#refusalOfModel();
    const names = failed.map(({ name }) => name);
    const values = { names: namesText(names), count: names.length };
    return failed.some(({ canRetry }) => canRetry) ? t('attachment.failed', values) : t('attachment.gone', values);
  }

  /** The files as messages describe theirs; those that are on their way are left out. */
  get files() {
    return this.#uploads.filter(({ state }) => state === 'ready').map(({ about }) => about);
  }

  /** Attach files of this browser. */
  add(files) {
    const { attachments: most, file_bytes: largest } = this.#box.limits();
    const room = most - this.count;
    const fitting = files.filter(({ size }) => size > 0 && size <= largest);
    const taken = fitting.slice(0, Math.max(room, 0));
    for (const file of taken) this.#begin(file);
    if (taken.length) announce(t('attachment.attached', { names: namesText(taken.map(({ name }) => name)) }));
    const why = refusal({ files, fitting, room, most, largest });
    if (why) this.#box.onProblem(why);
    return taken.length;
  }

  /** Attach files that the server has, described as in messages; with `check` it may have deleted them. */
  put(files, { check = false } = {}) {
    for (const about of files) {
      if (this.#has(about.file_id)) continue;
      const upload = Upload.stored(about);
      this.#append(upload);
      if (check) upload.check().then(() => this.#changed());
    }
    this.#changed();
  }

  /** Take all attachments out: the message is sent. Returns their descriptions. */
  take() {
    const { files } = this;
    this.#items = [];
    this.#list.replaceChildren();
    this.#changed();
    return files;
  }

  /** Look again at the limits and the model. */
  refresh() {
    const { objection } = this;
    for (const { chip } of this.#items) chip.draw();
    this.node.hidden = this.count === 0;
    this.#note.hidden = !objection;
    if (this.#note.textContent !== (objection ?? '')) this.#note.textContent = objection ?? '';
  }

  /**
   * Remove an attachment. The server keeps its file, which may be the file of an earlier message: equal bytes under an
   * equal name are one file. The sweep of the server deletes what no message has.
   */
  remove(upload) {
    const at = this.#items.findIndex((item) => item.upload === upload);
    const [{ chip }] = this.#items.splice(at, 1);
    const focused = chip.node.contains(document.activeElement);
    chip.node.remove();
    upload.cancel();
    announce(t('attachment.removed', { name: upload.name }));
    this.#changed();
    // The focus stays in the list while there is something in it.
    const next = this.#list.children[Math.min(at, this.count - 1)]?.querySelector('button:last-of-type');
    if (focused) (next ?? this.#box).focus();
  }

  #refusalOfModel() {
    const accepts = this.#box.accepts();
    const refused = { images: [], kind: [] };
    for (const { name, about, state } of this.#uploads)
      refused[whyNot(about.media_type, accepts, state === 'ready')]?.push(name);
    const [reason, names] = refused.images.length ? ['images', refused.images] : ['kind', refused.kind];
    if (!names.length) return this.#tooMuch(accepts);
    const values = { names: namesText(names), count: names.length };
    if (reason === 'kind') return t('attachment.not_read', values);
    return t('attachment.no_images', { ...values, model: accepts.label });
  }

  #tooMuch(accepts) {
    const { prompt_file_bytes: most } = this.#box.limits();
    const size = bytesAsTheyAre(
      this.#uploads.map(({ about }) => about),
      accepts,
    );
    return size > most ? t('attachment.too_much', { size: sizeText(size), most: sizeText(most) }) : null;
  }

  // Whether the list has this file, in another upload than `besides`.
  #has(id, besides = null) {
    return this.#uploads.some((upload) => upload !== besides && upload.about.file_id === id);
  }

  get #uploads() {
    return this.#items.map(({ upload }) => upload);
  }

  #begin(file) {
    const upload = Upload.of(file);
    const { chip } = this.#append(upload);
    let { state } = upload;
    upload.start(() => {
      chip.draw();
      if (upload.state === state) return;
      state = upload.state;
      if (state === 'ready' && this.#has(upload.about.file_id, upload)) {
        this.remove(upload);
        announce(t('attachment.already', { name: upload.name }));
        return;
      }
      if (state === 'failed') announce(`${upload.name}: ${upload.problem}`);
      else if (state === 'ready' && this.onTheirWay === 0) announce(t('attachment.uploaded'));
      this.#changed();
    });
    this.#changed();
  }

  #append(upload) {
    const { media_type: type, bytes } = upload.about;
    const asText = this.#box.onText && type === 'text/plain' && bytes <= TEXT_BYTES;
    const chip = new AttachmentChip(upload, {
      readsAsText: () => isReadAsText(upload.about.media_type, this.#box.accepts()),
      onRemove: () => this.remove(upload),
      onText: asText ? () => this.#box.onText(upload) : null,
    });
    const item = { upload, chip };
    this.#items.push(item);
    this.#list.append(chip.node);
    return item;
  }

  #changed() {
    this.refresh();
    this.#box.onChange();
  }
}

function refusal({ files, fitting, room, most, largest }) {
  const empty = files.filter(({ size }) => size === 0);
  const large = files.filter(({ size }) => size > largest);
  const names = (some) => namesText(some.map(({ name }) => name));
  const sentences = [
    large.length && t('attachment.too_large', { names: names(large), size: sizeText(largest) }),
    empty.length && t('attachment.empty', { names: names(empty) }),
    fitting.length > room &&
      t('attachment.too_many', { most, left: fitting.length - Math.max(room, 0) }),
  ];
  return sentences.filter(Boolean).join(' ') || null;
}
