/** A file of a message as a link that saves it, or the words that it was deleted. */

import { contentPath, fileAbout } from './api.js';
import { fileSign } from './attachment_chip.js';
import { announce, h, icon } from './dom.js';
import { sizeText } from './file_words.js';
import { whenNear } from './pictures.js';
import { t } from './texts.js';
import { Turns } from './turns.js';

const AT_ONCE = 2; // requests that look for files

const turns = new Turns(AT_ONCE);

/**
 * The link of a file of the server. A message keeps the name of a file that is deleted, so the page looks for the file
 * when the link comes near the window, and again before it saves. `about`: {file_id, filename, media_type, bytes}.
 */
export function fileLink(about) {
  const { file_id: id, filename, bytes } = about;
  let isThere = false; // since the click that is being worked on
  const look = async () => {
    if (await isDeleted(id)) link.replaceWith(goneFile(about));
  };
  const save = async (event) => {
    if (isThere || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    await look();
    if (!link.isConnected) {
      announce(t('file.deleted'));
      return;
    }
    isThere = true;
    link.click();
    isThere = false;
  };
  const words = h('span', { class: 'words' }, h('span', { class: 'name' }, filename), h('small', {}, sizeText(bytes)));
  const title = t('file.save', { name: filename });
  const attributes = { class: 'file', href: contentPath(id), download: filename, title };
  const link = h('a', { ...attributes, onclick: save }, fileSign(about), words, icon('download'));
  whenNear(link, look);
  return link;
}

/** The place of a file that was deleted. */
export function goneFile({ filename, media_type: mediaType }) {
  const name = h('span', { class: 'name' }, filename ?? t('file.unnamed'));
  const words = h('span', { class: 'words' }, name, h('small', {}, t('file.deleted')));
  return h('span', { class: 'file gone' }, fileSign({ filename, media_type: mediaType }), words);
}

// A server that does not answer says nothing about the file.
async function isDeleted(id) {
  try {
    await turns.run(() => fileAbout(id));
    return false;
  } catch (problem) {
    return problem.status === 404;
  }
}
