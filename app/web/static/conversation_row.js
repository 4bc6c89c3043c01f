/** A row of the list: a link to the conversation or to a message that a search has found, and a menu. */

import { h, icon, iconButton } from './dom.js';
import { openMenu } from './overlay.js';
import { marked } from './search.js';
import { t } from './texts.js';

export class Row {
  node;
  entry = null; // what is shown; see ConversationList.draw
  link = h('a', {});
  #menu;

  /** @param {(id: string, name: string) => object[]} actions the menu of a conversation, as `openMenu` takes it */
  constructor(actions) {
    const open = () => openMenu(this.#menu, actions(this.entry.id, this.entry.name));
    this.#menu = iconButton('more', t('list.actions'), open, { 'aria-haspopup': 'menu', 'aria-expanded': 'false' });
    const settle = () => this.node.classList.remove('fresh');
    this.node = h('li', { onanimationend: settle }, this.link, this.#menu);
  }

  update(entry) {
    const unchanged = JSON.stringify(entry) === JSON.stringify(this.entry);
    this.entry = entry;
    if (!unchanged) this.#draw(entry);
  }

  markCurrent(id) {
    if (id === this.entry.id) this.link.setAttribute('aria-current', 'page');
    else this.link.removeAttribute('aria-current');
  }

  /** Whether Tab reaches this row. One row of a list is reached so, and the arrows move on from it. */
  set reachable(reachable) {
    for (const node of [this.link, this.#menu]) node.tabIndex = reachable ? 0 : -1;
  }

  /** Whether the focus is in this row. */
  get focused() {
    return this.node.contains(document.activeElement);
  }

  focusMenu() {
    this.#menu.focus();
  }

  #draw({ id, name, path, hit, unread, follows }) {
    const inMessage = Boolean(hit?.message_id);
    this.node.classList.toggle('unread', Boolean(unread));
    this.node.classList.toggle('follows', Boolean(follows));
    this.link.href = inMessage ? `${path}#${hit.message_id}` : path;
    this.link.dataset.id = id;
    this.link.title = name;
    const words = h('span', { class: 'name', dir: 'auto' }, hit && !inMessage ? marked(hit) : name);
    const second = inMessage ? snippetOf(hit) : this.#preview();
    this.link.replaceChildren(words, this.#side(), second ?? '');
    const label = t('list.actions_for', { name });
    this.#menu.setAttribute('aria-label', label);
    this.#menu.title = label;
  }

  // What stands behind the name: an answer that is being written, one that was not seen yet, the time.
  #side() {
    const { active, unread, time } = this.entry;
    if (active) return sign('active', t('list.active_short'), t('list.active'), icon('flow'));
    const dot = unread ? sign('dot', t('list.unread_short'), t('list.unread')) : '';
    return h('span', { class: 'side' }, dot, h('time', {}, time ?? ''));
  }

  #preview() {
    const { preview, tags } = this.entry;
    if (!preview && !tags?.length) return null;
    const names = (tags ?? []).map((tag) => h('span', { class: 'tag' }, `#${tag}`));
    return h('span', { class: 'preview' }, names, h('span', { dir: 'auto' }, preview ?? ''));
  }
}

function snippetOf(hit) {
  const speaker = hit.role === 'user' ? h('span', { class: 'speaker' }, t('list.you')) : '';
  return h('span', { class: 'snippet', dir: 'auto' }, speaker, marked(hit));
}

const sign = (name, words, title, ...content) =>
  h('span', { class: name, title }, content, h('span', { class: 'sr-only' }, words));
