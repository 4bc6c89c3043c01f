/** The attachments of a message in the thread: pictures that open the gallery, and files that can be saved. */

import { contentPath } from './api.js';
import { fileSign } from './attachment_chip.js';
import { h, icon } from './dom.js';
import { isGone, isPicture, sizeText } from './file_words.js';
import { pictureButton } from './picture.js';
import { t } from './texts.js';

/** A node with all attachments, or null without any. Each is {file_id, filename, media_type, bytes, width, height}. */
export function messageFiles(attachments) {
  if (!attachments?.length) return null;
  const pictures = attachments.filter((about) => isPicture(about.media_type) && !isGone(about));
  const others = attachments.filter((each) => !pictures.includes(each));
  return h(
    'div',
    { class: 'message-files' },
    pictures.length > 0 &&
      h('div', { class: `pictures${pictures.length > 1 ? ' several' : ''}` }, pictures.map(pictureButton)),
    others.length > 0 &&
      h(
        'ul',
        { class: 'files', 'aria-label': t('file.list') },
        others.map((about) => h('li', {}, fileLink(about))),
      ),
  );
}

function fileLink(about) {
  const { file_id: id, filename, bytes } = about;
  if (isGone(about)) return goneFile(filename);
  const words = h('span', { class: 'words' }, h('span', { class: 'name' }, filename), h('small', {}, sizeText(bytes)));
  const attributes = { class: 'file', href: contentPath(id), download: filename, title: t('file.save', { name: filename }) };
  return h('a', attributes, fileSign(about), words, icon('download'));
}

function goneFile(filename) {
  const words = h(
    'span',
    { class: 'words' },
    h('span', { class: 'name' }, filename ?? t('file.unnamed')),
    h('small', {}, t('actions.deleted')),
  );
  return h('span', { class: 'file gone' }, fileSign({ filename }), words);
}
