/** Conversations as files: saving one. */

import * as api from './api.js';
import { h } from './dom.js';
import { t } from './texts.js';

const KEPT = 10_000; // milliseconds that a download may take to begin

/** Save a conversation as a file, `format` md or json. Throws api.Problem. */
export async function save({ id, title }, format) {
  const url = URL.createObjectURL(await api.exportConversation(id, format));
  h('a', { href: url, download: `${fileName(title)}.${format}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), KEPT);
}

function fileName(title) {
  const plain = title.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '');
  return [...plain].slice(0, 60).join('') || t('file.conversation');
}
