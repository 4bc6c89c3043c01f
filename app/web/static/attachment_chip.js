/** How an attachment stands in the box for a message: its picture, name, size and progress, and what can be done. */

import { h, icon, iconButton } from './dom.js';
import { isPicture, kindText, sizeText } from './file_words.js';
import { pictureOf } from './pictures.js';

/** The sign of a file, with its kind in capitals. */
export const fileSign = (about) =>
  h('span', { class: 'file-sign', 'aria-hidden': 'true' }, icon('file'), kindText(about));

export class AttachmentChip {
  node;

  #upload;
  #readsAsText;
  #sign = h('span', { class: 'sign' });
  #state = h('small', {});
  #bar = h('progress', { max: '1' });
  #again;
  #remove;

  /**
   * `readsAsText()`: whether the model gets only the text. `onRemove()` and `onText()`: what the buttons do; without
   * `onText` there is no button to get the text.
   */
  constructor(upload, { readsAsText, onRemove, onText = null }) {
    this.#upload = upload;
    this.#readsAsText = readsAsText;
    const { name } = upload;
    this.#bar.setAttribute('aria-label', `${name} is sent`);
    this.#again = iconButton('refresh', `Send ${name} again`, () => upload.retry());
    this.#remove = iconButton('close', `Remove ${name}`, onRemove);
    const text = onText && iconButton('text', `Put ${name} into the message as text`, onText);
    const words = h(
      'span',
      { class: 'words' },
      h('span', { class: 'name', title: name }, name),
      this.#state,
      this.#bar,
    );
    this.node = h('li', { class: 'attachment' }, this.#sign, words, this.#again, text, this.#remove);
    this.#showSign();
    this.draw();
  }

  /** Show the state of the upload. */
  draw() {
    const { state, sent, about } = this.#upload;
    const moves = this.#upload.onItsWay;
    this.node.className = `attachment ${state}`;
    this.#state.textContent = this.#words();
    this.#bar.hidden = !moves;
    // Without a value the bar says that the time is unknown.
    if (state === 'sending') this.#bar.value = about.bytes ? sent / about.bytes : 0;
    else this.#bar.removeAttribute('value');
    this.#again.hidden = !this.#upload.canRetry;
    const label = `${moves ? 'Cancel' : 'Remove'} ${about.filename}`;
    for (const name of ['aria-label', 'title']) this.#remove.setAttribute(name, label);
  }

  #words() {
    const { state, sent, about, problem } = this.#upload;
    const size = sizeText(about.bytes);
    if (state === 'failed') return problem;
    if (state === 'paused')
      return navigator.onLine ? 'Interrupted, goes on in a moment' : 'Goes on when you are online';
    if (state === 'waiting') return `Waiting, ${size}`;
    if (state === 'sending') return `${percent.format(about.bytes ? sent / about.bytes : 0)} of ${size}`;
    return this.#readsAsText() ? `${size}, only its text is read` : size;
  }

  async #showSign() {
    const { about, preview } = this.#upload;
    this.#sign.replaceChildren(fileSign(about));
    if (!isPicture(about.media_type)) return;
    const address = preview ?? (await pictureOf(about.file_id).catch(() => null));
    if (!address) return;
    const image = h('img', { src: address });
    image.alt = '';
    // A picture that cannot be drawn leaves the sign.
    image.addEventListener('load', () => this.#sign.replaceChildren(image));
  }
}

const percent = new Intl.NumberFormat(undefined, { style: 'percent' });
