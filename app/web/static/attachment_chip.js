/** How an attachment stands in the box for a message: its picture, name, size and progress, and what can be done. */

import { h, icon, iconButton } from './dom.js';
import { isPicture, kindText, sizeText } from './file_words.js';
import { thumbnailOf } from './pictures.js';
import { locale, t } from './texts.js';

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
    this.#bar.setAttribute('aria-label', t('attachment.sending_name', { name }));
    this.#again = iconButton('refresh', t('attachment.again', { name }), () => upload.retry());
    this.#remove = iconButton('close', t('attachment.remove', { name }), onRemove);
    const text = onText && iconButton('text', t('attachment.as_text', { name }), onText);
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
    const file = { name: about.filename };
    const label = moves ? t('attachment.cancel', file) : t('attachment.remove', file);
    for (const name of ['aria-label', 'title']) this.#remove.setAttribute(name, label);
  }

  #words() {
    const { state, sent, about, problem } = this.#upload;
    const size = sizeText(about.bytes);
    if (state === 'failed') return problem;
    if (state === 'paused')
      return navigator.onLine ? t('attachment.interrupted') : t('attachment.offline');
    if (state === 'waiting') return t('attachment.waiting', { size });
    if (state === 'sending')
      return t('attachment.sending', { percent: percent.format(about.bytes ? sent / about.bytes : 0), size });
    return this.#readsAsText() ? t('attachment.only_text', { size }) : size;
  }

  async #showSign() {
    const { about, preview } = this.#upload;
    this.#sign.replaceChildren(fileSign(about));
    if (!isPicture(about.media_type)) return;
    const address = preview ?? (await thumbnailOf(about).catch(() => null));
    if (!address) return;
    const image = h('img', { src: address });
    image.alt = '';
    // A picture that cannot be drawn leaves the sign.
    image.addEventListener('load', () => this.#sign.replaceChildren(image));
  }
}

const percent = new Intl.NumberFormat(locale, { style: 'percent' });
