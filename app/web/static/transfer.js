/** Conversations as files: export and import. */

import * as api from './api.js';
import { h } from './dom.js';

const LARGEST = 32 * 1024 * 1024; // bytes; the server's limit
const KEPT = 10_000; // milliseconds that a download may take to begin

/** Save a conversation as a file, `format` md or json. Throws api.Problem. */
export async function save({ id, title }, format) {
  const url = URL.createObjectURL(await api.exportConversation(id, format));
  h('a', { href: url, download: `${fileName(title)}.${format}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), KEPT);
}

/** Let the user choose a file that was saved as JSON, and import it. Returns the new conversation, or null. */
export async function importFile() {
  const file = await chosenFile();
  if (!file) return null;
  if (file.size > LARGEST) throw new Error('This file is larger than 32 MB.');
  let conversation;
  try {
    conversation = JSON.parse(await file.text());
  } catch {
    throw new Error('This file is not a conversation that was saved as JSON.');
  }
  return api.importConversation(conversation);
}

function chosenFile() {
  const input = h('input', { type: 'file', accept: '.json,application/json' });
  return new Promise((resolve) => {
    input.addEventListener('change', () => resolve(input.files[0] ?? null));
    input.addEventListener('cancel', () => resolve(null));
    input.click();
  });
}

function fileName(title) {
  const plain = title.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '');
  return [...plain].slice(0, 60).join('') || 'conversation';
}
