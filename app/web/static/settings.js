/** The settings: the page and new chats of the user, and the pages of the account, each at an address of its own. */

import { ACCOUNT_PAGES } from './account_dialog.js';
import { h } from './dom.js';
import { chatsPage } from './settings_chats.js';
import { generalPage } from './settings_general.js';
import { t } from './texts.js';

// [part of the address, name, node from {account, models, tabNames, onImport}]
const SECTIONS = [
  ['general', t('settings.general'), generalPage],
  ['chats', t('settings.new_chats'), chatsPage],
  ...ACCOUNT_PAGES.map(([slug, name, make]) => [slug, name, ({ account, onImport }) => make(account, { onImport })]),
];

/** True when the settings have a section under this part of an address. */
export const hasSection = (slug) => SECTIONS.some(([each]) => each === slug);

/** The view of a section. `navButton`: shows the list of conversations. `about`: {account, models, tabNames, onImport}. */
export function settingsView(slug, navButton, about) {
  const [, name, make] = SECTIONS.find(([each]) => each === slug);
  const links = SECTIONS.map(([each, words]) =>
    h('a', { href: `/settings/${each}`, 'aria-current': each === slug ? 'page' : null }, words),
  );
  const heading = h('h1', { tabindex: '-1' }, t('settings.name'));
  const node = h(
    'div',
    { class: 'chat settings' },
    h('header', {}, navButton, heading),
    h(
      'div',
      { class: 'settings-body' },
      h('nav', { class: 'periods', 'aria-label': t('settings.sections') }, links),
      h('section', { 'aria-label': name }, h('h2', {}, name), make(about)),
    ),
  );
  return { node, name };
}
