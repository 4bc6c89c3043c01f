/** The page of a user who is signed in: the list of conversations, the open chat, and the events of the feed. */

import { Account } from './account.js';
import * as api from './api.js';
import { Arrivals } from './arrivals.js';
import { Chat } from './chat.js';
import { ConversationActions } from './conversation_actions.js';
import { announce, h, icon, iconButton } from './dom.js';
import { modelList, NO_MODELS } from './models.js';
import { followPreferences } from './preferences.js';
import { conversationPath, newPath, Router, settingsPath } from './router.js';
import { Seen } from './seen.js';
import * as session from './session.js';
import { endInTime } from './session_end.js';
import { SharedConnection } from './shared_connection.js';
import { Shortcuts } from './shortcuts.js';
import { Sidebar } from './sidebar.js';
import { TabTitle } from './tab_title.js';
import { t } from './texts.js';
import { toast } from './toast.js';

const NAV = 'unbroken.nav';
const STALE = 15_000; // milliseconds; after it, a page that comes back without a feed loads everything again
// A sign-in has a connection of its own, which its tabs share.
const sharedName = () => `unbroken.tabs.${session.proof()?.cookie}`;
const narrow = matchMedia('(max-width: 820px)');

function titleOf({ name, model }) {
  if (name === 'new') return model ? t('chat.new_with', { model }) : t('common.new_chat');
  return model ? t('chat.with', { model }) : t('chat.name');
}

export class Workspace {
  #chat = null;
  #view = h('main', { class: 'main', id: 'main' });
  #synced = Date.now();
  #title = new TabTitle();
  #account;
  #where = null; // the place that is shown
  #actions = new ConversationActions(this);
  #seen;
  #arrivals;

  constructor() {
    this.models = NO_MODELS;
    this.limits = {};
    this.router = new Router((where) => this.show(where));
    this.#account = new Account({
      models: () => this.models,
      onArchived: () => this.sidebar.showArchived(),
      onImport: () => this.#actions.import(),
      onSettings: () => this.router.go(settingsPath()),
      tabNames: () => this.#title.choice(),
    });
    this.sidebar = new Sidebar(this, this.#account.node);
    this.#seen = new Seen(this.sidebar, () => this.#chat?.id ?? null);
    this.#arrivals = new Arrivals({
      current: () => this.#chat?.id ?? null,
      nameOf: (id) => this.sidebar.nameOf(id),
      open: (id) => this.router.go(conversationPath(id)),
      onCount: (count) => (this.#title.count = count),
    });
    this.feed = new SharedConnection({
      url: '/api/v1',
      token: session.proof,
      name: sharedName(),
      user: session.userId(),
      onEvent: (event) => this.#onFeedEvent(event),
      onMissed: () => this.#catchUp(),
      onState: (state) => this.#chat?.showFeedState(state),
      onSignedOut: (used) => session.expire(used),
    });
    this.scrim = h('div', { class: 'scrim', onclick: () => this.toggleNav(false) });
    const skip = h('button', { type: 'button', class: 'skip', onclick: () => this.focus() }, t('page.skip'));
    this.node = h('div', { class: 'workspace' }, skip, this.sidebar.node, this.scrim, this.#view);
    this.toggleNav(!narrow.matches && localStorage.getItem(NAV) !== 'closed', { keep: false });
    narrow.addEventListener('change', () => this.toggleNav(!narrow.matches, { keep: false }));
    new Shortcuts(this);
    document.addEventListener('visibilitychange', () => this.#returned());
    session.listen((message) => this.#onTabMessage(message));
  }

  async start() {
    this.sidebar.refresh();
    // A user can write before the models and the limits are loaded.
    const [models] = await Promise.allSettled([api.models(), this.#loadUser(), followPreferences()]);
    if (models.value) this.models = modelList(models.value);
    if (session.proof()) this.router.refresh();
  }

  /** Show a place. */
  async show(where) {
    if (!session.proof()) return;
    this.#chat?.leave();
    this.#chat = null;
    this.#where = where;
    this.busy(false);
    if (narrow.matches) this.toggleNav(false);
    this.sidebar.current = where.id ?? null;
    if (where.name === 'nowhere') this.#showNothing(t('page.not_there'));
    else if (where.name === 'settings') await this.#showSettings(where);
    else await this.#showChat(where);
  }

  // The settings are loaded when they are opened.
  async #showSettings(where) {
    try {
      const { hasSection, settingsView } = await import('./settings.js');
      if (!this.#account.about) await this.#loadUser();
      if (this.#where !== where) return;
      if (!hasSection(where.section)) this.#showNothing(t('page.not_there'));
      else this.#showView(settingsView(where.section, this.navButton(), this.#settings));
    } catch (problem) {
      if (this.#where === where) this.#showTrouble(problem, where);
    }
  }

  get #settings() {
    return {
      account: this.#account.about,
      models: () => this.models,
      tabNames: () => this.#title.choice(),
      onImport: () => this.#actions.import(),
    };
  }

  #showView({ node, name }) {
    this.#view.replaceChildren(node);
    this.#title.show(`${name} · ${t('settings.name')}`);
    this.#arrivals.look();
    node.querySelector('h1').focus({ focusVisible: false });
  }

  async #showChat(where) {
    const chat = new Chat(where, this);
    this.#chat = chat;
    this.#view.replaceChildren(chat.node);
    this.#title.show(titleOf(where));
    this.#arrivals.look();
    try {
      await chat.open();
    } catch (problem) {
      if (this.#chat !== chat || problem.name === 'AbortError') return;
      if (problem.status === 404 || problem.status === 400 || problem.status === 422)
        this.#showNothing(t('page.no_conversation'));
      else if (problem.status !== 401) this.#showTrouble(problem, where);
    }
  }

  #showNothing(text) {
    this.#chat = null;
    this.#title.show(t('page.not_found'));
    this.#showMessage(t('page.nothing'), text, h('a', { href: '/new', class: 'primary' }, t('page.start_new')));
  }

  #showTrouble(problem, where) {
    this.#showMessage(
      t('page.not_loaded'),
      problem.message,
      h('button', { type: 'button', class: 'primary', onclick: () => this.show(where) }, t('common.again')),
    );
  }

  #showMessage(title, text, action) {
    const note = h('div', { class: 'lost' }, icon('wave'), h('h1', {}, title), h('p', {}, text), action);
    this.#view.replaceChildren(h('div', { class: 'chat' }, h('header', {}, this.navButton()), note));
    announce(`${title}. ${text}`);
    action.focus({ focusVisible: false });
  }

  // --- called by the views --------------------------------------------------------------------------------------

  navButton() {
    return iconButton('panel', t('sidebar.show'), () => this.toggleNav(true), {
      class: 'icon-button show-nav',
      'aria-controls': 'sidebar',
    });
  }

  toggleNav(open = !this.node.classList.contains('nav-open'), { keep = true } = {}) {
    this.node.classList.toggle('nav-open', open);
    this.sidebar.node.inert = !open;
    this.#view.inert = open && narrow.matches;
    if (keep && !narrow.matches && session.userId()) localStorage.setItem(NAV, open ? 'open' : 'closed');
    if (keep && open) this.sidebar.node.querySelector('.new').focus({ focusVisible: false });
  }

  /** Mark the tab while an answer is written. */
  busy(busy) {
    this.#title.busy = busy;
  }

  /** A new conversation has its address. */
  settled(chat) {
    this.sidebar.current = chat.id;
    this.busy(true);
  }

  /** A conversation has a name, or another one. */
  named(chat) {
    const general = titleOf({ name: 'chat', model: chat.model });
    this.#title.show(chat.temporary ? general : chat.title, general);
  }

  /** The messages of a conversation are on the screen. */
  opened({ id, unread }) {
    if (this.#chat?.id === id) this.#seen.look(unread);
  }

  focus() {
    this.#chat?.focus();
  }

  /** Stop everything: the user is signed out. */
  close() {
    this.feed.close();
    this.#arrivals.close();
    this.#chat?.leave();
    this.#chat = null;
  }

  /** The menu of a conversation, as `openMenu` takes it. */
  actions(conversation) {
    return this.#actions.menu(conversation);
  }

  /** Do an action of the menu, by its name. */
  act(action, conversation) {
    return this.#actions.act(action, conversation);
  }

  /** The chat that is shown, or null. */
  get chat() {
    return this.#chat;
  }

  /** Whether the list of conversations covers the chat. */
  get navCovers() {
    return narrow.matches && this.node.classList.contains('nav-open');
  }

  // --- events of tabs and the feed -------------------------------------------------------------------------------

  async #loadUser() {
    const me = await api.me();
    if (me.id !== session.userId()) {
      // Another tab has signed in as somebody else: nothing of the first user may stay on the screen.
      session.signIn(me);
      location.reload();
      return;
    }
    session.signIn(me);
    // The server may have another session of this user than the browser remembered.
    this.feed.rename(sharedName());
    endInTime(me.sign_in.expires_at);
    this.limits = me.limits ?? {};
    this.#account.show(me);
  }

  #onTabMessage({ type, conversation }) {
    if (!session.proof()) return;
    if (type === 'signed-in') this.feed.rename(sharedName());
    else if (type === 'deleted') {
      this.sidebar.remove(conversation);
      if (this.#chat?.id === conversation) this.router.go(newPath(), { replace: true });
    } else if (type === 'changed' && !this.feed.live) {
      this.sidebar.refresh();
      if (this.#chat?.id && this.#chat.id === conversation) this.#chat.sync();
    }
  }

  // An event about one of the user's conversations, from any device.
  #onFeedEvent(event) {
    if (event.type !== 'presence') this.sidebar.applyEvent(event);
    this.#arrivals.apply(event);
    if (event.conversation_id !== this.#chat?.id) return;
    this.#seen.look(event.type === 'message.updated' || undefined);
    if (event.type === 'conversation.deleted') {
      this.router.go(newPath(), { replace: true });
      toast(t('chat.deleted_elsewhere'));
    } else this.#chat.applyEvent(event);
  }

  #returned() {
    if (document.hidden || !session.proof() || this.feed.live || Date.now() - this.#synced < STALE) return;
    this.#catchUp();
  }

  #catchUp() {
    this.#synced = Date.now();
    this.sidebar.refresh();
    this.#chat?.sync();
  }
}
