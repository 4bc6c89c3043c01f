/** The list of conversations: newest first, more as one scrolls, searchable, each with its menu. */

import * as api from './api.js';
import { nameOf } from './chat.js';
import { h, icon, iconButton } from './dom.js';
import { openMenu } from './overlay.js';
import { conversationPath } from './router.js';

const DAY = 86_400_000;
const SEARCH_PAUSE = 180;

export class Sidebar {
  #app;
  #items = new Map(); // id → conversation
  #order = [];
  #cursor = null;
  #more = true;
  #loading = null;
  #archived = false;
  #current = null;
  #found = null; // results of a search, or null
  #searching = null;
  #list = h('nav', { class: 'list', 'aria-label': 'Conversations', onkeydown: (event) => this.#key(event) });
  #end = h('div', { class: 'end' });
  #heading = h('div', { class: 'archived', hidden: true });
  #search;

  constructor(app, account) {
    this.#app = app;
    this.#search = h('input', {
      type: 'search',
      placeholder: 'Search',
      'aria-label': 'Search conversations',
      autocomplete: 'off',
      spellcheck: 'false',
      oninput: () => this.#typed(),
      onkeydown: (event) => event.key === 'Escape' && this.#clearSearch(event),
    });
    const scroller = h('div', { class: 'scroller' }, this.#heading, this.#list, this.#end);
    this.node = h(
      'aside',
      { class: 'sidebar', id: 'sidebar', 'aria-label': 'Conversations and account' },
      h(
        'div',
        { class: 'brand' },
        h('a', { href: '/new', class: 'mark' }, icon('wave'), 'Unbroken'),
        iconButton('panel', 'Hide conversations', () => app.toggleNav(false)),
      ),
      h('a', { href: '/new', class: 'new' }, icon('plus'), h('span', {}, 'New chat')),
      h('label', { class: 'search' }, icon('search'), this.#search),
      scroller,
      account,
    );
    new IntersectionObserver(([entry]) => entry.isIntersecting && this.#loadMore(), {
      root: scroller,
      rootMargin: '300px',
    }).observe(this.#end);
  }

  focusSearch() {
    this.#search.focus();
    this.#search.select();
  }

  /** Mark the open conversation. */
  set current(id) {
    this.#current = id;
    for (const link of this.#list.querySelectorAll('a')) mark(link, link.dataset.id === id);
  }

  /** The first page again; what was loaded beyond it stays. */
  async refresh() {
    const first = this.#order.length === 0;
    if (first) this.#list.replaceChildren(bones());
    try {
      const page = await api.conversations({ archived: this.#archived });
      const ids = page.items.map(({ id }) => id);
      for (const item of page.items) this.#items.set(item.id, { ...this.#items.get(item.id), ...item });
      if (first || !page.next_cursor)
        [this.#cursor, this.#more, this.#order] = [page.next_cursor, Boolean(page.next_cursor), ids];
      else this.#order = [...ids, ...this.#order.filter((id) => !ids.includes(id))];
      this.#draw();
    } catch (problem) {
      if (first)
        this.#list.replaceChildren(
          h(
            'p',
            { class: 'nothing' },
            problem.message,
            h('button', { type: 'button', class: 'link', onclick: () => this.refresh() }, 'Try again'),
          ),
        );
    }
  }

  /** A conversation has just been made here. */
  add(conversation) {
    this.#items.set(conversation.id, { last_updated: new Date().toISOString(), ...conversation });
    this.#order = [conversation.id, ...this.#order.filter((id) => id !== conversation.id)];
    this.#draw();
    this.#list.querySelector('a')?.classList.add('fresh');
  }

  /** Something about a conversation is known better now. */
  touch(id, fields) {
    const item = this.#items.get(id);
    if (!item) return;
    Object.assign(item, fields);
    if (fields.has_active_generation) {
      item.last_updated = new Date().toISOString();
      this.#order = [id, ...this.#order.filter((other) => other !== id)];
    }
    this.#draw();
  }

  remove(id) {
    this.#items.delete(id);
    this.#order = this.#order.filter((other) => other !== id);
    this.#found = this.#found?.filter((other) => other.id !== id) ?? null;
    this.#draw();
  }

  /** Show what was archived, or what was not. */
  showArchived(archived) {
    this.#archived = archived;
    this.#order = [];
    this.#heading.hidden = !archived;
    this.#heading.replaceChildren(
      h('span', {}, 'Archived'),
      h('button', { type: 'button', class: 'link', onclick: () => this.showArchived(false) }, 'Back'),
    );
    return this.refresh();
  }

  async #loadMore() {
    if (!this.#more || this.#loading || this.#found || !this.#cursor) return;
    try {
      this.#loading = api.conversations({ cursor: this.#cursor, archived: this.#archived });
      const page = await this.#loading;
      for (const item of page.items) this.#items.set(item.id, { ...this.#items.get(item.id), ...item });
      this.#order = [...new Set([...this.#order, ...page.items.map(({ id }) => id)])];
      [this.#cursor, this.#more] = [page.next_cursor, Boolean(page.next_cursor)];
      this.#draw();
    } catch {
      // Scrolling on asks again.
    } finally {
      this.#loading = null;
    }
  }

  // --- search --------------------------------------------------------------------------------------------------

  #typed() {
    clearTimeout(this.#searching?.timer);
    this.#searching?.abort.abort();
    const words = this.#search.value.trim();
    if (!words) return this.#show(null);
    const abort = new AbortController();
    this.#searching = { abort, timer: setTimeout(() => this.#find(words, abort.signal), SEARCH_PAUSE) };
    return undefined;
  }

  async #find(words, signal) {
    try {
      const { items } = await api.search(words, signal);
      this.#show(items.map(foundConversation));
    } catch {
      if (signal.aborted) return;
      // Titles at hand are better than nothing while the server cannot search.
      const small = words.toLowerCase();
      this.#show(
        [...this.#items.values()].filter((item) =>
          `${item.title ?? ''} ${item.preview ?? ''}`.toLowerCase().includes(small),
        ),
      );
    }
  }

  #clearSearch(event) {
    event.preventDefault();
    event.stopPropagation();
    this.#search.value = '';
    this.#show(null);
    this.#app.focus();
  }

  #show(found) {
    this.#found = found && [...new Map(found.map((item) => [item.id, item])).values()];
    this.#draw();
  }

  // --- drawing -------------------------------------------------------------------------------------------------

  #draw() {
    const focused = document.activeElement?.closest?.('.list a')?.dataset.id;
    const items = this.#found ?? this.#order.map((id) => this.#items.get(id));
    const groups = this.#found ? [['', items]] : grouped(items);
    this.#list.replaceChildren(
      ...groups
        .flatMap(([name, members]) => [
          name && h('h2', {}, name),
          h(
            'ul',
            {},
            members.map((item) => this.#row(item)),
          ),
        ])
        .filter(Boolean),
    );
    if (!items.length) this.#list.replaceChildren(h('p', { class: 'nothing' }, this.#emptiness()));
    if (focused) this.#list.querySelector(`a[data-id="${CSS.escape(focused)}"]`)?.focus();
  }

  #emptiness() {
    if (this.#found) return 'Nothing found.';
    return this.#archived ? 'Nothing is archived.' : 'Your conversations will be here.';
  }

  #row(item) {
    const name = nameOf(item);
    const link = h(
      'a',
      { href: conversationPath(item.id, this.#app.models.chosen(item.model)), 'data-id': item.id, title: name },
      h('span', { class: 'name', dir: 'auto' }, name),
      item.snippet ? h('span', { class: 'snippet', dir: 'auto' }, item.snippet) : null,
      item.has_active_generation
        ? h(
            'span',
            { class: 'active', title: 'An answer is being written' },
            icon('flow'),
            h('span', { class: 'sr-only' }, 'answering'),
          )
        : null,
    );
    mark(link, item.id === this.#current);
    const more = iconButton(
      'more',
      `Actions for ${name}`,
      () => openMenu(more, this.#app.actions({ ...item, title: name })),
      { 'aria-haspopup': 'menu', 'aria-expanded': 'false' },
    );
    return h('li', {}, link, more);
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.target.tagName !== 'A') return;
    event.preventDefault();
    const links = [...this.#list.querySelectorAll('a')];
    links[links.indexOf(event.target) + step]?.focus();
  }
}

function mark(link, current) {
  if (current) link.setAttribute('aria-current', 'page');
  else link.removeAttribute('aria-current');
}

// A hit is a conversation, or a message in one.
function foundConversation(hit) {
  const conversation = hit.conversation ?? hit;
  const snippet = hit.snippet ?? hit.headline ?? hit.excerpt ?? hit.preview ?? '';
  return {
    ...conversation,
    id: hit.conversation_id ?? conversation.id,
    snippet: snippet.replace(/<\/?(?:b|mark|em)>/g, ''),
  };
}

const when = (item) =>
  Date.parse(item.last_message_at ?? item.last_updated ?? item.updated_at ?? item.created_at) || Date.now();

function grouped(items) {
  const today = new Date().setHours(0, 0, 0, 0);
  const groups = new Map();
  for (const item of items) {
    const age = today - when(item);
    const name =
      age <= 0
        ? 'Today'
        : age <= DAY
          ? 'Yesterday'
          : age <= 7 * DAY
            ? 'This week'
            : age <= 30 * DAY
              ? 'This month'
              : 'Earlier';
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(item);
  }
  return [...groups];
}

function bones() {
  return h(
    'div',
    { class: 'skeleton', role: 'status', 'aria-label': 'Loading' },
    [80, 60, 90, 70, 50].map((width) => h('i', { class: `bone w${width}` })),
  );
}
