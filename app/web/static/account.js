/** The button with the user's name, and its menu: settings, archive, usage, import, account, sign out. */

import { h, icon } from './dom.js';
import { openMenu, shortcutsDialog } from './overlay.js';
import { leave } from './leaving.js';
import { t } from './texts.js';

const OPERATORS = ['operator', 'support', 'admin'];

export class Account {
  node = h('button', {
    type: 'button',
    class: 'account',
    'aria-haspopup': 'menu',
    'aria-expanded': 'false',
    onclick: () => this.#open(),
  });
  #handlers;
  #account = null;

  /**
   * `models()` returns the models. `onArchived()`, `onImport()` and `onSettings()` are called for these entries of the menu;
   * `tabNames()` is the entry for the names in titles of tabs.
   */
  constructor({ models, onArchived, onImport, onSettings, tabNames }) {
    this.#handlers = { models, onArchived, onImport, onSettings, tabNames };
    this.show(null);
  }

  /** The reply of GET /me; null before it is there. */
  get about() {
    return this.#account;
  }

  /** Show an account, the reply of GET /me; null before it is there. */
  show(account) {
    this.#account = account;
    const name = account?.email ?? account?.subject ?? '';
    const face = h('span', { class: 'face', 'aria-hidden': 'true' }, [...name][0]?.toUpperCase() ?? '');
    const purpose = h('span', { class: 'sr-only' }, t('account.purpose'));
    this.node.replaceChildren(face, h('span', { class: 'who', dir: 'auto' }, name), purpose, icon('more'));
  }

  #open() {
    openMenu(this.node, [
      { label: t('settings.name'), icon: 'sliders', action: () => this.#handlers.onSettings() },
      this.#handlers.tabNames(),
      null,
      { label: t('account.archived'), icon: 'archive', action: () => this.#handlers.onArchived() },
      { label: t('account.usage'), icon: 'chart', action: () => this.#showUsage() },
      { label: t('account.import'), icon: 'upload', action: () => this.#handlers.onImport() },
      { label: t('account.account'), icon: 'key', action: () => this.#showAccount() },
      { label: t('account.shortcuts'), icon: 'keyboard', action: shortcutsDialog },
      ...this.#operatorsPage(),
      null,
      { label: t('account.sign_out'), icon: 'out', action: leave },
    ]);
  }

  // An entry for operators, where the proxy lets them to their page.
  #operatorsPage() {
    const mayLook = OPERATORS.includes(this.#account?.role);
    if (!mayLook || document.querySelector('meta[name="operators-page"]')?.content !== 'open') return [];
    return [{ label: t('account.operators'), icon: 'pulse', action: () => location.assign('/ops') }];
  }

  // Dialogs that few open are loaded when they are opened.
  async #showUsage() {
    const { usageDialog } = await import('./usage.js');
    await usageDialog(this.#handlers.models());
  }

  async #showAccount() {
    const { accountDialog } = await import('./account_dialog.js');
    if (this.#account) await accountDialog(this.#account);
  }
}
