/** The page of one's own data: take all of it away, or have all of it erased. */

import * as api from './account_api.js';
import { exportLink } from './account_export.js';
import { actionButton } from './account_parts.js';
import { h } from './dom.js';
import { promptDialog } from './overlay.js';
import { signOut } from './session.js';
import { t } from './texts.js';

const WORD = t('data.word');

/** The page. With `onImport()` it also has the way to import conversations. */
export function dataPage(_, { onImport = null } = {}) {
  const erase = async () => {
    const typed = await promptDialog({
      title: t('data.confirm_title'),
      label: t('data.confirm_label', { word: WORD }),
      value: '',
      action: t('data.confirm_action'),
    });
    if (typed === null) return;
    if (typed.trim().toLowerCase() !== WORD) throw new Error(t('data.not_erased', { word: WORD }));
    await api.erase();
    await signOut();
  };
  return h(
    'div',
    { class: 'own-data' },
    onImport && [
      h('h3', {}, t('data.import_title')),
      h('p', {}, t('data.import_about')),
      h('button', { type: 'button', class: 'primary', onclick: onImport }, t('account.import')),
    ],
    h('h3', {}, t('data.download_title')),
    h('p', {}, t('data.download_about')),
    ...exportLink(),
    h('h3', {}, t('data.erase_title')),
    h('p', {}, t('data.erase_about', { word: WORD })),
    actionButton(t('data.erase'), erase, { class: 'danger' }),
  );
}
