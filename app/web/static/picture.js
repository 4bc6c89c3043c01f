/** One picture in a message: a button with a small picture that opens the gallery. */

import { h, icon } from './dom.js';
import { thumbnailOf, whenNear } from './pictures.js';
import { t } from './texts.js';

const TALLEST = 320; // pixels of a picture that stands alone

/** A picture of the server, drawn from its thumbnail. `about`: {file_id, filename, bytes, width, height}. */
export function pictureButton(about) {
  const node = frameFor({ name: about.filename, ...about });
  const load = async () => {
    try {
      show(node, await thumbnailOf(about), about.filename);
    } catch (problem) {
      if (problem.status === 404) fail(node, t('picture.deleted'));
      else fail(node, problem.message, load);
    }
  };
  whenNear(node, load);
  return node;
}

/** A picture with an address of this document, as data in an answer have. */
export function localPicture(address, name) {
  const node = frameFor({ name, address });
  show(node, address, name);
  return node;
}

function frameFor(about) {
  const node = h('button', {
    type: 'button',
    class: 'picture loading',
    'aria-label': t('picture.show', { name: about.name }),
    onclick: () => node.classList.contains('failed') || open(node),
  });
  node.picture = about;
  const { width, height } = about;
  if (width && height) {
    // The place of the picture is kept before it is there, so that the thread does not jump.
    node.style.setProperty('--ratio', `${width} / ${height}`);
    node.style.setProperty('--width', `${Math.round(Math.min(width, TALLEST * Math.min(width / height, 2)))}px`);
  }
  return node;
}

// The gallery is loaded when it is opened.
async function open(node) {
  const { openGallery } = await import('./gallery.js');
  await openGallery(node);
}

function show(node, address, name) {
  const image = h('img', { src: address, alt: name, decoding: 'async' });
  image.addEventListener('load', () => node.classList.remove('loading'));
  image.addEventListener('error', () => fail(node, t('picture.not_drawn')));
  node.replaceChildren(image);
}

function fail(node, why, again = null) {
  node.classList.replace('loading', 'failed');
  node.replaceChildren(icon('image'), h('small', {}, why, again ? ` ${t('common.again')}` : ''));
  if (again)
    node.addEventListener(
      'click',
      (event) => {
        event.stopImmediatePropagation();
        node.classList.replace('failed', 'loading');
        again();
      },
      { once: true, capture: true },
    );
}
