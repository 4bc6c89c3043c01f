/** The dialog of one's own account, in four pages: API keys, sessions, activity, data. */

import { activityPage } from './account_activity.js';
import { dataPage } from './account_data.js';
import { keysPage } from './account_keys.js';
import { sessionsPage } from './account_sessions.js';
import { h } from './dom.js';
import { frame, show } from './overlay.js';
import { forward, t } from './texts.js';

/**
 * The pages: [part of an address in the settings, name, make]. Each is made when it is shown: `make(account) => node`,
 * where `account` is the reply of GET /me.
 */
export const ACCOUNT_PAGES = [
  ['keys', t('keys.name'), keysPage],
  ['sessions', t('sessions.name'), sessionsPage],
  ['activity', t('activity.name'), activityPage],
  ['data', t('data.name'), dataPage],
];

/** Show the account. `account`: the reply of GET /me. */
export function accountDialog(account) {
  const body = h('div', { class: 'account-page', id: 'account-page', role: 'tabpanel', tabindex: '0' });
  const tabs = ACCOUNT_PAGES.map(([, name], n) =>
    h(
      'button',
      { type: 'button', role: 'tab', id: `account-tab-${n}`, 'aria-controls': 'account-page', onclick: () => pick(n) },
      name,
    ),
  );
  const pick = (n) => {
    tabs.forEach((tab, i) => {
      tab.setAttribute('aria-selected', String(i === n));
      tab.tabIndex = i === n ? 0 : -1;
    });
    body.setAttribute('aria-labelledby', tabs[n].id);
    body.replaceChildren(ACCOUNT_PAGES[n][2](account));
  };
  const bar = h('div', { class: 'periods', role: 'tablist', 'aria-label': t('account.account') }, tabs);
  bar.addEventListener('keydown', (event) => {
    const step = { ArrowRight: forward, ArrowLeft: -forward }[event.key];
    if (!step) return;
    const to = (tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length;
    tabs[to].focus();
    pick(to);
  });
  const who = account.email ?? account.subject;
  const dialog = frame(t('account.account'), h('p', { class: 'whose' }, t('account.signed_in_as', { who })), bar, body);
  dialog.classList.add('wide');
  const close = h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close('') }, t('common.close'));
  dialog.firstChild.append(h('div', { class: 'choices' }, close));
  pick(0);
  return show(dialog);
}
