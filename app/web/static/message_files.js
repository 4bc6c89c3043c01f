/** The attachments of a message in the thread: pictures that open the gallery, and files that can be saved. */

import { h } from './dom.js';
import { fileLink, goneFile } from './file_link.js';
import { isGone, isPicture } from './file_words.js';
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
        others.map((about) => h('li', {}, isGone(about) ? goneFile(about) : fileLink(about))),
      ),
  );
}
