/** The page of one's own data: take all of it away, or have all of it erased. */

import * as api from './account_api.js';
import { actionButton } from './account_parts.js';
import { h } from './dom.js';
import { promptDialog } from './overlay.js';
import { signOut } from './session.js';

const WORD = 'erase';

/** The page. */
export function dataPage() {
  const erase = async () => {
    const typed = await promptDialog({
      title: 'Erase your account?',
      label: `Type ${WORD} to confirm`,
      value: '',
      action: 'Erase everything',
    });
    if (typed === null) return;
    if (typed.trim().toLowerCase() !== WORD) throw new Error(`Nothing was erased: the word is “${WORD}”.`);
    await api.erase();
    await signOut();
  };
  return h(
    'div',
    { class: 'own-data' },
    h('h3', {}, 'Download'),
    h('p', {}, 'One archive with all of your conversations, your usage, and what is kept about your account.'),
    h('a', { class: 'primary', href: '/api/v1/me/export', download: '' }, 'Download everything'),
    h('h3', {}, 'Erase'),
    h(
      'p',
      {},
      'Your conversations, keys, sessions and usage are deleted for good, and you are signed out. Nobody can bring them back. ',
      `You are asked to type “${WORD}” first.`,
    ),
    actionButton('Erase my account', erase, { class: 'danger' }),
  );
}
