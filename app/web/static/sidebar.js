/** The sidebar: the conversations with their filter, a search over them, and the account. */

import { ConversationList } from './conversation_list.js';
import { h, icon, iconButton } from './dom.js';
import { grouped, shortTime } from './groups.js';
import { ListFilter } from './list_filter.js';
import { Listing, timeOf } from './listing.js';
import { nameOf, plain } from './names.js';
import { conversationPath } from './router.js';
import { Search, wordsOf } from './search.js';
import { entriesOf } from './search_results.js';
import { t } from './texts.js';

export class Sidebar {
  #app;
  #listing = new Listing(() => this.#draw());
  #found = null; // {hits, more} of a search, or null
  #list = new ConversationList({
    actions: (id, name) => this.#app.actions(this.#about(id, name)),
    act: (action, id, name) => this.#app.act(action, this.#about(id, name)),
  });
  #filter = new ListFilter({
    tags: () => this.tags,
    models: () => this.#app.models,
    onChange: (filter) => this.#choose(filter),
  });
  #end = h('div', { class: 'end' });
  #search;

  constructor(app, account) {
    this.#app = app;
    this.#search = new Search({
      onFound: (result) => this.#show(result),
      atHand: (words) => this.#atHand(words),
      onLeave: () => app.focus(),
      onDown: () => this.#list.focusFirst(),
    });
    const scroller = h('div', { class: 'scroller' }, this.#list.node, this.#end);
    this.node = h(
      'aside',
      { class: 'sidebar', id: 'sidebar', 'aria-label': t('sidebar.name') },
      h(
        'div',
        { class: 'brand' },
        h('a', { href: '/new', class: 'mark' }, icon('wave'), 'Unbroken'),
        iconButton('panel', t('sidebar.hide'), () => app.toggleNav(false)),
      ),
      h('a', { href: '/new', class: 'new' }, icon('plus'), h('span', {}, t('common.new_chat'))),
      h(
        'div',
        { class: 'find' },
        h('label', { class: 'search' }, icon('search'), this.#search.input),
        this.#filter.button,
      ),
      this.#filter.chips,
      scroller,
      account,
    );
    new IntersectionObserver(([entry]) => entry.isIntersecting && !this.#found && this.#listing.loadMore(), {
      root: scroller,
      rootMargin: '300px',
    }).observe(this.#end);
  }

  focusSearch() {
    this.#search.focus();
  }

  /** The name of a conversation, as the list shows it; undefined for one that is not loaded. */
  nameOf(id) {
    const item = this.get(id);
    return item && nameOf(item);
  }

  /** Mark the open conversation. */
  set current(id) {
    this.#list.markCurrent(id);
  }

  /** The tags of all loaded conversations, in the order of the alphabet. */
  get tags() {
    const all = this.#listing.loaded.flatMap(({ tags = [] }) => tags);
    return [...new Set(all)].sort((one, other) => one.localeCompare(other));
  }

  /** A loaded conversation, or undefined. */
  get(id) {
    return this.#listing.get(id);
  }

  /** The words that the shown search has found in a message, or []. */
  wordsIn(messageId) {
    const hit = this.#found?.hits.find((each) => each.message_id === messageId);
    return hit ? wordsOf(hit) : [];
  }

  /** Load the first page again. Conversations of later pages stay. */
  async refresh() {
    const { filter } = this.#listing;
    const first = this.#listing.shown.length === 0;
    if (first) this.#list.drawNote(bones());
    try {
      const number = await this.#listing.refresh();
      if (number !== undefined) queueMicrotask(() => this.#app.feed.begin(number));
    } catch (problem) {
      if (first && filter === this.#listing.filter) this.#list.drawNote(this.#failure(problem));
    }
  }

  /** Add a new conversation of this page. */
  add(conversation) {
    this.#listing.add(conversation);
    this.#list.emphasize(`listed ${conversation.id}`);
  }

  /** Update fields of a conversation. */
  touch(id, fields) {
    this.#listing.touch(id, fields);
  }

  /** Apply an event of the feed. An event that comes twice changes nothing. */
  applyEvent(event) {
    if (event.type === 'conversation.deleted') this.remove(event.conversation_id);
    else this.#listing.apply(event);
  }

  remove(id) {
    if (this.#found) this.#found.hits = this.#found.hits.filter((hit) => hit.conversation_id !== id);
    this.#listing.remove(id);
  }

  /** Show the archived conversations. */
  showArchived() {
    this.#search.clear();
    this.#filter.set({ archived: true });
  }

  #choose(filter) {
    this.#search.clear();
    this.#listing.filter = filter;
    return this.refresh();
  }

  #about(id, name) {
    return { ...this.#listing.get(id), id, title: name };
  }

  // --- search --------------------------------------------------------------------------------------------------

  // While the server cannot search, the loaded titles are searched.
  #atHand(words) {
    const small = words.toLowerCase();
    return this.#listing.loaded
      .filter((item) => `${item.title ?? ''} ${item.preview ?? ''}`.toLowerCase().includes(small))
      .map((item) => ({ conversation_id: item.id, message_id: null, title: item.title, snippet: nameOf(item) }));
  }

  #show(result) {
    this.#found = result && { ...result };
    this.#draw();
  }

  // --- drawing -------------------------------------------------------------------------------------------------

  #draw() {
    if (this.#found) this.#drawFound(this.#found);
    else this.#drawList(this.#listing.shown);
  }

  #drawList(items) {
    const section = ([name, members]) => ({ name, entries: members.map((item) => this.#entry(item)) });
    if (items.length) this.#list.draw(grouped(items).map(section));
    else this.#list.drawNote(h('p', { class: 'nothing' }, this.#emptiness()));
  }

  #drawFound({ hits, more }) {
    const entries = entriesOf(hits, ({ conversation_id: id, title }) => this.#entry({ id, title, ...this.get(id) }));
    const next = more && h('button', { type: 'button', class: 'link', onclick: more }, t('search.more'));
    const footer = next ? [h('p', { class: 'nothing' }, next)] : [];
    if (entries.length) this.#list.draw([{ name: null, entries }], footer);
    else this.#list.drawNote(h('p', { class: 'nothing' }, t('search.none_found')), ...footer);
  }

  #emptiness() {
    const { archived, tag, model } = this.#listing.filter;
    if (tag !== null || model !== null) return t('filter.none');
    return archived ? t('list.none_archived') : t('list.none');
  }

  #failure(problem) {
    const again = h('button', { type: 'button', class: 'link', onclick: () => this.refresh() }, t('common.again'));
    return h('p', { class: 'nothing' }, problem.message, again);
  }

  #entry(item) {
    const { id, model, title, asked, tags, unread = false, has_active_generation: active = false } = item;
    const name = nameOf(item);
    return {
      key: `listed ${id}`,
      id,
      name,
      path: conversationPath(id, this.#app.models.chosen(model)),
      active,
      unread: unread && !active,
      time: shortTime(timeOf(item)),
      // A conversation without a title is named by its preview.
      preview: title || asked ? plain(item.preview) : '',
      tags,
      hit: null,
    };
  }
}

function bones() {
  return h(
    'div',
    { class: 'skeleton', role: 'status', 'aria-label': t('common.loading') },
    [80, 60, 90, 70, 50].map((width) => h('i', { class: `bone w${width}` })),
  );
}
