/** The download of everything. What does not fit into one archive goes on in the next, with a click for each. */

import * as api from './account_api.js';
import { h } from './dom.js';
import { t } from './texts.js';
import { textsOf } from './zip_file.js';

const KEPT = 10_000; // milliseconds that a download may take to begin
const LONGEST_MANIFEST = 16_000_000; // bytes
const PATH = '/api/v1/me/export';

/** A link for the next archive, with words about those that are left. */
export function exportLink() {
  let after = null;
  let number = 1;
  let isBusy = false;
  const note = h('p', { class: 'note', role: 'status' });
  const next = async () => {
    const archive = await api.exportArchive(after);
    saveAs(archive, number > 1 ? `unbroken-export-${number}.zip` : 'unbroken-export.zip');
    const [manifest] = await textsOf(archive, /^manifest\.json$/, LONGEST_MANIFEST);
    after = JSON.parse(manifest).next;
    number = after ? number + 1 : 1;
    link.textContent = after ? t('data.download_part', { number: String(number) }) : t('data.download');
    note.textContent = after ? t('data.download_more', { done: String(number - 1), next: String(number) }) : '';
  };
  const press = async (event) => {
    event.preventDefault();
    if (isBusy) return;
    isBusy = true;
    note.textContent = t('data.download_made');
    try {
      await next();
    } catch (problem) {
      note.textContent = problem.message;
    } finally {
      isBusy = false;
    }
  };
  const link = h('a', { class: 'primary', href: PATH, download: '', onclick: press }, t('data.download'));
  return [link, note];
}

function saveAs(blob, name) {
  const url = URL.createObjectURL(blob);
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), KEPT);
}
