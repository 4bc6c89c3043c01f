/** The list of conversations: newest first, more as one scrolls, searchable, each with its menu. */

import * as api from './api.js';
import { nameOf } from './chat.js';
import { h, icon, iconButton } from './dom.js';
import { openMenu } from './overlay.js';
import { conversationPath } from './router.js';
import { marked, Search } from './search.js';

const DAY = 86_400_000;

export class Sidebar {
  #app;
  #items = new Map(); // id → conversation
  #order = [];
  #cursor = null;
  #more = true;
  #loading = null;
  #archived = false;
  #current = null;
  #found = null; // {hits, more} of a search, or null
  #asked = new Set(); // conversations that are being fetched
  #list = h('nav', { class: 'list', 'aria-label': 'Conversations', onkeydown: (event) => this.#key(event) });
  #end = h('div', { class: 'end' });
  #heading = h('div', { class: 'archived', hidden: true });
  #search;

  constructor(app, account) {
    this.#app = app;
    this.#search = new Search({
      onFound: (result) => this.#show(result),
      atHand: (words) => this.#atHand(words),
      onLeave: () => app.focus(),
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
      h('label', { class: 'search' }, icon('search'), this.#search.input),
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
      if (page.feed_seq !== undefined) queueMicrotask(() => this.#app.feed.begin(page.feed_seq));
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
    const known = this.#items.get(conversation.id);
    this.#items.set(conversation.id, { last_message_at: new Date().toISOString(), ...conversation, ...known });
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
      item.last_message_at = new Date().toISOString();
      this.#order = [id, ...this.#order.filter((other) => other !== id)];
    }
    this.#draw();
  }

  /** What the feed says. Hearing something twice changes nothing. */
  hear(event) {
    const { type, conversation_id: id } = event;
    const item = this.#items.get(id);
    if (type === 'conversation.deleted') this.remove(id);
    else if (type === 'conversation.updated' && event.archived !== this.#archived) this.remove(id);
    else if (!item) this.#fetch(id);
    else if (type === 'conversation.updated')
      this.touch(id, { title: event.title, model: event.model, archived: event.archived });
    else if (type === 'generation.updated') this.#answering(item, event.generation_id, true);
    else if (type === 'message.new' || type === 'message.updated') this.#said(item, event);
  }

  #said(item, { type, role, status, generation_id: generation, created_at: at }) {
    if (role === 'assistant')
      this.#answering(item, generation, type === 'message.new' && (status === 'queued' || status === 'running'));
    else if (type === 'message.new' && at >= (item.last_message_at ?? '')) {
      item.last_message_at = at;
      this.#order = [item.id, ...this.#order.filter((other) => other !== item.id)];
      this.#draw();
    }
  }

  // Several answers of a conversation may wait for one another.
  #answering(item, generation, begun) {
    item.answers ??= new Set();
    if (begun) item.answers.add(generation);
    else item.answers.delete(generation);
    item.has_active_generation = item.answers.size > 0;
    this.#draw();
  }

  // Begun on another device, or not loaded yet.
  async #fetch(id) {
    if (this.#asked.has(id)) return;
    this.#asked.add(id);
    const found = await api.conversation(id).catch(() => null);
    this.#asked.delete(id);
    if (!found || found.archived !== this.#archived || this.#isBeyond(found)) return;
    this.#items.set(id, { ...found, ...this.#items.get(id) });
    if (!this.#order.includes(id)) this.#order.push(id);
    this.#order.sort((one, other) => when(this.#items.get(other)) - when(this.#items.get(one)));
    this.#draw();
  }

  // Older than what is loaded: scrolling on brings it.
  #isBeyond(found) {
    const last = this.#items.get(this.#order.at(-1));
    return this.#more && last && when(found) < when(last);
  }

  remove(id) {
    this.#items.delete(id);
    this.#order = this.#order.filter((other) => other !== id);
    if (this.#found) this.#found.hits = this.#found.hits.filter((hit) => hit.conversation_id !== id);
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

  // Titles at hand are better than nothing while the server cannot search.
  #atHand(words) {
    const small = words.toLowerCase();
    const items = [...this.#items.values()];
    return items
      .filter((item) => `${item.title ?? ''} ${item.preview ?? ''}`.toLowerCase().includes(small))
      .map((item) => ({ conversation_id: item.id, message_id: null, title: item.title, snippet: nameOf(item) }));
  }

  #show(result) {
    this.#found = result && { ...result, hits: newestOfEach(result.hits) };
    this.#draw();
  }

  // --- drawing -------------------------------------------------------------------------------------------------

  #draw() {
    const focused = document.activeElement?.closest?.('.list a')?.dataset.id;
    if (this.#found) this.#drawFound(this.#found);
    else this.#drawList(this.#order.map((id) => this.#items.get(id)));
    if (focused) this.#list.querySelector(`a[data-id="${CSS.escape(focused)}"]`)?.focus();
  }

  #drawList(items) {
    const rows = (members) => members.map((item) => this.#row(item));
    const section = ([name, members]) => [h('h2', {}, name), h('ul', {}, rows(members))];
    if (items.length) this.#list.replaceChildren(...grouped(items).flatMap(section));
    else this.#list.replaceChildren(h('p', { class: 'nothing' }, this.#emptiness()));
  }

  #drawFound({ hits, more }) {
    const known = ({ conversation_id: id, title }) => ({ id, title, ...this.#items.get(id) });
    const rows = hits.map((hit) => this.#row(known(hit), hit));
    const next = more && h('button', { type: 'button', class: 'link', onclick: more }, 'More');
    this.#list.replaceChildren(
      rows.length ? h('ul', {}, rows) : h('p', { class: 'nothing' }, 'Nothing found.'),
      next ? h('p', { class: 'nothing' }, next) : '',
    );
  }

  #emptiness() {
    return this.#archived ? 'Nothing is archived.' : 'Your conversations will be here.';
  }

  // `hit`: what a search found in it.
  #row(item, hit = null) {
    const name = nameOf(item);
    const path = conversationPath(item.id, this.#app.models.chosen(item.model));
    const link = h(
      'a',
      { href: hit?.message_id ? `${path}#${hit.message_id}` : path, 'data-id': item.id, title: name },
      h('span', { class: 'name', dir: 'auto' }, hit && !hit.message_id ? marked(hit) : name),
      hit?.message_id ? h('span', { class: 'snippet', dir: 'auto' }, marked(hit)) : null,
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

// A conversation is found once: by the newest of its messages that fit, or by its title.
function newestOfEach(hits) {
  const found = new Map();
  for (const hit of hits) {
    const known = found.get(hit.conversation_id);
    if (!known || (!known.message_id && hit.message_id)) found.set(hit.conversation_id, hit);
  }
  return [...found.values()];
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
