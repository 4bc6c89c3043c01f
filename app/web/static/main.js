/** The page: who is here, where they are, and the frame around it. */

import * as api from './api.js';
import { Chat } from './chat.js';
import { announce, h, icon, iconButton } from './dom.js';
import { Feed } from './feed.js';
import { modelList, NO_MODELS } from './models.js';
import { confirmDialog, openMenu, promptDialog, shortcutsDialog, somethingOpen } from './overlay.js';
import { conversationPath, newPath, place, Router } from './router.js';
import * as session from './session.js';
import { Sidebar } from './sidebar.js';
import { expiredText, signInView } from './signin.js';
import { bringIn, save } from './transfer.js';
import { usageDialog } from './usage.js';

const THEME = 'unbroken.theme';
const NAV = 'unbroken.nav';
const STALE = 15_000;
const narrow = matchMedia('(max-width: 820px)');
const root = document.getElementById('app');

class Workspace {
  #chat = null;
  #view = h('main', { class: 'main', id: 'main' });
  #synced = Date.now();
  #name = 'Unbroken';
  #account;

  constructor() {
    this.models = NO_MODELS;
    this.limits = {};
    this.router = new Router((where) => this.show(where));
    this.#account = h('button', {
      type: 'button',
      class: 'account',
      'aria-haspopup': 'menu',
      'aria-expanded': 'false',
      onclick: () => this.#openAccount(),
    });
    this.sidebar = new Sidebar(this, this.#account);
    this.feed = new Feed({
      url: '/api/v1/feed',
      token: session.token,
      share: `unbroken.feed.${session.userId()}`,
      onEvent: (event) => this.#happened(event),
      onMissed: () => this.#catchUp(),
      onState: (state) => this.#chat?.noteFeed(state),
      onSignedOut: (used) => session.expire(used),
    });
    this.scrim = h('div', { class: 'scrim', onclick: () => this.toggleNav(false) });
    const skip = h('button', { type: 'button', class: 'skip', onclick: () => this.focus() }, 'Skip to writing');
    this.node = h('div', { class: 'workspace' }, skip, this.sidebar.node, this.scrim, this.#view);
    this.toggleNav(!narrow.matches && localStorage.getItem(NAV) !== 'closed', { keep: false });
    narrow.addEventListener('change', () => this.toggleNav(!narrow.matches, { keep: false }));
    document.addEventListener('keydown', (event) => this.#key(event));
    document.addEventListener('visibilitychange', () => this.#returned());
    session.listen((message) => this.#heard(message));
  }

  async start() {
    this.#nameAccount('');
    this.sidebar.refresh();
    // One can write without choosing a model, and without knowing the limits.
    const [models] = await Promise.allSettled([api.models(), this.#meet()]);
    if (models.value) this.models = modelList(models.value);
    if (session.token()) this.router.refresh();
  }

  /** Show a place. */
  async show(where) {
    if (!session.token()) return;
    this.#chat?.leave();
    this.#chat = null;
    this.busy(false);
    if (narrow.matches) this.toggleNav(false);
    this.sidebar.current = where.id ?? null;
    if (where.name === 'nowhere') this.#showNothing('This page does not exist.');
    else await this.#showChat(where);
  }

  async #showChat(where) {
    const chat = new Chat(where, this);
    this.#chat = chat;
    this.#view.replaceChildren(chat.node);
    this.#say();
    try {
      await chat.open();
    } catch (problem) {
      if (this.#chat !== chat || problem.name === 'AbortError') return;
      if (problem.status === 404 || problem.status === 400 || problem.status === 422)
        this.#showNothing('This conversation does not exist, or it belongs to somebody else.');
      else if (problem.status !== 401) this.#showTrouble(problem, where);
    }
  }

  #showNothing(text) {
    this.#chat = null;
    document.title = 'Not found · Unbroken';
    this.#showMessage('Nothing here', text, h('a', { href: '/new', class: 'primary' }, 'Start a new chat'));
  }

  #showTrouble(problem, where) {
    this.#showMessage(
      'That did not load',
      problem.message,
      h('button', { type: 'button', class: 'primary', onclick: () => this.show(where) }, 'Try again'),
    );
  }

  #showMessage(title, text, action) {
    const note = h('div', { class: 'lost' }, icon('wave'), h('h1', {}, title), h('p', {}, text), action);
    this.#view.replaceChildren(h('div', { class: 'chat' }, h('header', {}, this.navButton()), note));
    announce(`${title}. ${text}`);
    action.focus({ focusVisible: false });
  }

  // --- what the views ask for ------------------------------------------------------------------------------------

  navButton() {
    return iconButton('panel', 'Show conversations', () => this.toggleNav(true), {
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

  /** The tab says when an answer is being written; never what about: titles stay in the browser's history. */
  busy(busy) {
    document.title = `${busy ? '● ' : ''}${this.#name}`;
  }

  /** A new conversation has got its address. */
  settled(chat) {
    this.sidebar.current = chat.id;
    this.#say();
    this.busy(true);
  }

  focus() {
    this.#chat?.focus();
  }

  /** Nobody is signed in any more. */
  close() {
    this.feed.stop();
    this.#chat?.leave();
    this.#chat = null;
  }

  /** The menu of a conversation. */
  actions(conversation) {
    const { id, archived } = conversation;
    return [
      { label: 'Rename', icon: 'pencil', action: () => this.#rename(conversation) },
      {
        label: archived ? 'Bring back' : 'Archive',
        icon: 'archive',
        action: () => this.#try(() => this.#archive(id, !archived)),
      },
      { label: 'Save as Markdown', icon: 'download', action: () => this.#try(() => save(conversation, 'md')) },
      { label: 'Save as JSON', icon: 'download', action: () => this.#try(() => save(conversation, 'json')) },
      null,
      { label: 'Delete', icon: 'trash', danger: true, action: () => this.#delete(conversation) },
    ];
  }

  // --- actions -------------------------------------------------------------------------------------------------

  async #rename({ id, title }) {
    const name = await promptDialog({
      title: 'Rename',
      label: 'Name of the conversation',
      value: title,
      action: 'Rename',
    });
    if (!name || name === title) return;
    await this.#try(async () => {
      await api.change(id, { title: name });
      this.sidebar.touch(id, { title: name });
      if (this.#chat?.id === id) this.#chat.rename(name);
      session.tell({ type: 'changed' });
    });
  }

  async #archive(id, archived) {
    const changed = await api.change(id, { archived });
    // The feed may have said it already, and the list may show the other kind by now.
    this.sidebar.hear({ ...changed, type: 'conversation.updated', conversation_id: id });
    announce(archived ? 'Archived' : 'Brought back');
    session.tell({ type: 'changed' });
    if (archived && this.#chat?.id === id) this.router.go(newPath());
  }

  async #delete({ id, title }) {
    const sure = await confirmDialog({
      title: 'Delete this conversation?',
      text: `“${title}” and everything in it will be gone for good. An answer that is still being written stops.`,
      action: 'Delete',
    });
    if (!sure) return;
    await this.#try(async () => {
      await api.remove(id);
      this.sidebar.remove(id);
      announce('Deleted');
      session.tell({ type: 'deleted', conversation: id });
      if (this.#chat?.id === id) this.router.go(newPath(), { replace: true });
    });
  }

  async #import() {
    await this.#try(async () => {
      const conversation = await bringIn();
      if (!conversation) return;
      this.sidebar.add(conversation);
      this.router.go(conversationPath(conversation.id, this.models.chosen(conversation.model)));
      announce('Brought in');
    });
  }

  async #try(action) {
    try {
      await action();
    } catch (problem) {
      toast(problem.message);
    }
  }

  // --- the person and their tabs ---------------------------------------------------------------------------------

  #nameAccount(name) {
    const face = h('span', { class: 'face', 'aria-hidden': 'true' }, [...name][0]?.toUpperCase() ?? '');
    const purpose = h('span', { class: 'sr-only' }, 'Account and settings');
    this.#account.replaceChildren(face, h('span', { class: 'who' }, name), purpose, icon('more'));
  }

  async #meet() {
    const me = await api.me();
    this.limits = me.limits ?? {};
    this.#nameAccount(String(me.subject ?? me.name ?? me.id));
  }

  #openAccount() {
    const theme = localStorage.getItem(THEME) ?? 'system';
    const choose = (label, value) => ({
      label,
      icon: 'theme',
      checked: theme === value,
      action: () => setTheme(value),
    });
    openMenu(this.#account, [
      choose('Like the system', 'system'),
      choose('Light', 'light'),
      choose('Dark', 'dark'),
      null,
      { label: 'Archived conversations', icon: 'archive', action: () => this.sidebar.showArchived(true) },
      { label: 'Usage', icon: 'chart', action: () => usageDialog(this.models) },
      { label: 'Bring in a saved conversation', icon: 'upload', action: () => this.#import() },
      { label: 'Keyboard shortcuts', icon: 'keyboard', action: shortcutsDialog },
      null,
      { label: 'Sign out', icon: 'out', action: () => session.signOut() },
    ]);
  }

  #heard({ type, conversation }) {
    if (!session.token()) return;
    if (type === 'deleted') {
      this.sidebar.remove(conversation);
      if (this.#chat?.id === conversation) this.router.go(newPath(), { replace: true });
    } else if (type === 'changed' && !this.feed.live) {
      this.sidebar.refresh();
      if (this.#chat?.id && this.#chat.id === conversation) this.#chat.sync();
    }
  }

  // What happened to any of the user's conversations, here or elsewhere.
  #happened(event) {
    this.sidebar.hear(event);
    if (event.conversation_id !== this.#chat?.id) return;
    if (event.type === 'conversation.deleted') {
      this.router.go(newPath(), { replace: true });
      toast('This conversation was deleted elsewhere.');
    } else this.#chat.hear(event);
  }

  #returned() {
    if (document.hidden || !session.token() || this.feed.live || Date.now() - this.#synced < STALE) return;
    this.#catchUp();
  }

  #catchUp() {
    this.#synced = Date.now();
    this.sidebar.refresh();
    this.#chat?.sync();
  }

  #say() {
    const { name, model } = place(location.pathname);
    this.#name = `${name === 'new' ? 'New chat' : 'Chat'}${model ? ` with ${model}` : ''} · Unbroken`;
    document.title = this.#name;
  }

  #key(event) {
    if (event.defaultPrevented || event.isComposing || somethingOpen() || !session.token()) return;
    const action = this.#shortcut(event);
    if (!action) return;
    event.preventDefault();
    action();
  }

  #shortcut(event) {
    const { key } = event;
    if (event.ctrlKey || event.metaKey) {
      if (event.shiftKey) return key.toLowerCase() === 'o' ? () => this.router.go(newPath()) : null;
      if (key === 'k') return () => (this.toggleNav(true), this.sidebar.focusSearch());
      if (key === '/') return shortcutsDialog;
      return key === 'b' ? () => this.toggleNav() : null;
    }
    if (event.altKey) return null;
    if (key === 'Escape') return this.#escape();
    if (/^(?:INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return null;
    if (key === '?') return shortcutsDialog;
    return key === '/' ? () => this.focus() : null;
  }

  #escape() {
    if (narrow.matches && this.node.classList.contains('nav-open')) return () => this.toggleNav(false);
    return this.#chat ? () => this.#chat.stop() || this.focus() : null;
  }
}

function setTheme(value) {
  if (value === 'system') {
    localStorage.removeItem(THEME);
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem(THEME, value);
    document.documentElement.dataset.theme = value;
  }
}

function toast(text) {
  const note = h('div', { class: 'toast', role: 'alert', popover: 'manual' }, text);
  document.body.append(note);
  note.showPopover();
  setTimeout(() => note.remove(), 6000);
}

// --- in and out ---------------------------------------------------------------------------------------------------

let workspace = null;

function showDoor() {
  document.title = 'Sign in · Unbroken';
  for (const open of document.querySelectorAll('dialog[open], [popover]')) open.remove();
  root.replaceChildren(signInView({ why: expiredText(), onDone: showWorkspace }));
}

// Signing in again starts from a new document when one was in use: nothing of the old session is left in memory.
function showWorkspace() {
  if (workspace) return location.reload();
  workspace = new Workspace();
  root.replaceChildren(workspace.node);
  expireInTime();
  return workspace.start();
}

// Said when it happens, not when the next request fails.
function expireInTime() {
  const current = session.token();
  const seconds = session.secondsLeft(current);
  const longest = 2 ** 31 - 1;
  if (seconds !== null && seconds * 1000 < longest)
    setTimeout(() => session.expire(current), Math.max(0, seconds * 1000));
}

session.listen(({ type }) => {
  if (type === 'expired') {
    workspace?.close();
    showDoor();
  } else if (type === 'signed-in' && root.querySelector('.door')) showWorkspace();
});

const current = session.token();
if (!current) showDoor();
else if ((session.secondsLeft(current) ?? 1) > 0) showWorkspace();
else session.expire(current);
