/** The pictures of the shown conversation, one at a time over the whole window. */

import { contentPath } from './api.js';
import { announce, h, icon, iconButton } from './dom.js';
import { show } from './overlay.js';
import { pictureOf } from './pictures.js';
import { forward, t } from './texts.js';

const SWIPE = 60; // pixels

/** Show the picture of a button of picture.js. The arrow keys lead to the others of the thread. */
export function openGallery(opener) {
  const buttons = [...document.querySelectorAll('.thread .picture:not(.failed)')];
  const gallery = new Gallery(buttons.map(({ picture }) => picture));
  gallery.go(Math.max(buttons.indexOf(opener), 0));
  return show(gallery.node);
}

class Gallery {
  node;

  #pictures;
  #at = 0;
  #stage = h('div', { class: 'stage' });
  #name = h('h2', {});
  #count = h('span', {});
  #save = h('a', { class: 'icon-button' });
  #back;
  #next;

  constructor(pictures) {
    this.#pictures = pictures;
    this.#back = iconButton('back', t('gallery.previous'), () => this.go(this.#at - 1), { class: 'icon-button turn' });
    this.#next = iconButton('next', t('gallery.next'), () => this.go(this.#at + 1), { class: 'icon-button turn' });
    const close = iconButton('close', t('common.close'), () => this.node.close(''), { autofocus: true });
    this.node = h(
      'dialog',
      { class: 'gallery', 'aria-label': t('picture.name'), onkeydown: (event) => this.#key(event) },
      h('header', {}, this.#name, this.#count, this.#save, close),
      h('div', { class: 'turns' }, this.#back, this.#stage, this.#next),
    );
    this.#onSwipe();
  }

  /** Show the picture with this number. */
  async go(at) {
    const picture = this.#pictures[at];
    if (!picture) return;
    this.#at = at;
    this.#describe(picture, at);
    this.#stage.replaceChildren(h('p', { role: 'status' }, t('common.loading')));
    const shown = await this.#image(picture);
    // The user may have gone on meanwhile.
    if (this.#at === at) this.#stage.replaceChildren(shown);
  }

  #describe({ name }, at) {
    const { length } = this.#pictures;
    this.#name.textContent = name;
    this.#count.textContent = length > 1 ? t('versions.place', { number: at + 1, count: length }) : '';
    for (const [button, there] of [
      [this.#back, at > 0],
      [this.#next, at < length - 1],
    ]) {
      button.hidden = length < 2;
      // A disabled button would lose the focus of the keyboard.
      button.setAttribute('aria-disabled', String(!there));
    }
    this.#save.replaceWith((this.#save = saveLink(this.#pictures[at])));
    if (this.node.open) announce(t('gallery.place', { name, number: at + 1, count: length }));
  }

  async #image(picture) {
    try {
      const address = picture.address ?? (await pictureOf(picture.file_id));
      const image = h('img', { src: address, alt: picture.name });
      await image.decode();
      return image;
    } catch (problem) {
      const why = problem.name === 'EncodingError' ? t('picture.not_drawn') : problem.message;
      return h('p', { role: 'alert' }, why);
    }
  }

  #key(event) {
    const turn = { ArrowLeft: -forward, ArrowRight: forward }[event.key];
    const to = turn ? this.#at + turn : { Home: 0, End: this.#pictures.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.go(to);
  }

  #onSwipe() {
    let from = null;
    this.#stage.addEventListener(
      'pointerdown',
      (event) => (from = event.pointerType === 'touch' ? event.clientX : null),
    );
    this.#stage.addEventListener('pointerup', ({ clientX }) => {
      const way = from === null ? 0 : clientX - from;
      from = null;
      if (Math.abs(way) > SWIPE) this.go(this.#at + (way < 0 ? forward : -forward));
    });
  }
}

function saveLink({ address, file_id: id, name }) {
  const label = t('gallery.save');
  const attributes = { class: 'icon-button', href: address ?? contentPath(id), download: name };
  return h('a', { ...attributes, 'aria-label': label, title: label }, icon('download'));
}
