/** The sidebar: the conversations, newest first, with a search; scrolling loads more. */

import * as api from './api.js';
import { ConversationList } from './conversation_list.js';
import { h, icon, iconButton } from './dom.js';
import { nameOf } from './names.js';
import { conversationPath } from './router.js';
import { Search } from './search.js';

const DAY = 86_400_000;

export class Sidebar {
  #app;
  #items = new Map(); // id → conversation
  #order = [];
  #cursor = null;
  #more = true;
  #loading = false;
  #archived = false;
  #found = null; // {hits, more} of a search, or null
  #fetching = new Map(); // id of a conversation that is being fetched → whether it has changed meanwhile
  #list = new ConversationList((id, name) => this.#app.actions({ ...this.#items.get(id), id, title: name }));
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
    const scroller = h('div', { class: 'scroller' }, this.#heading, this.#list.node, this.#end);
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
    this.#list.markCurrent(id);
  }

  /** Load the first page again. Conversations of later pages stay. */
  async refresh() {
    const first = this.#order.length === 0;
    const archived = this.#archived;
    if (first) this.#list.drawNote(bones());
    try {
      const page = await api.conversations({ archived });
      // The user has changed to the other list.
      if (archived !== this.#archived) return;
      if (page.feed_seq !== undefined) queueMicrotask(() => this.#app.feed.begin(page.feed_seq));
      const ids = page.items.map(({ id }) => id);
      for (const item of page.items) this.#items.set(item.id, { ...this.#items.get(item.id), ...item });
      if (first || !page.next_cursor)
        [this.#cursor, this.#more, this.#order] = [page.next_cursor, Boolean(page.next_cursor), ids];
      else this.#order = [...ids, ...this.#order.filter((id) => !ids.includes(id))];
      this.#draw();
    } catch (problem) {
      if (first && archived === this.#archived)
        this.#list.drawNote(
          h(
            'p',
            { class: 'nothing' },
            problem.message,
            h('button', { type: 'button', class: 'link', onclick: () => this.refresh() }, 'Try again'),
          ),
        );
    }
  }

  /** Add a new conversation of this page. */
  add(conversation) {
    const known = this.#items.get(conversation.id);
    this.#items.set(conversation.id, { last_message_at: new Date().toISOString(), ...conversation, ...known });
    this.#order = [conversation.id, ...this.#order.filter((id) => id !== conversation.id)];
    this.#draw();
    this.#list.emphasizeFirst();
  }

  /** Update fields of a conversation. */
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

  /** Apply an event of the feed. An event that comes twice changes nothing. */
  applyEvent(event) {
    const { type, conversation_id: id } = event;
    const item = this.#items.get(id);
    if (type === 'conversation.deleted') this.remove(id);
    else if (type === 'conversation.updated' && event.archived !== this.#archived) this.remove(id);
    else if (!item) this.#fetch(id);
    else if (type === 'conversation.updated')
      this.touch(id, { title: event.title, model: event.model, archived: event.archived });
    else if (type === 'generation.updated') this.#answering(item, event.generation_id, true);
    else if (type === 'message.new' || type === 'message.updated') this.#applyMessage(item, event);
  }

  #applyMessage(item, { type, role, status, generation_id: generation, created_at: at }) {
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

  // A conversation of another device, or one that is not loaded yet.
  async #fetch(id) {
    if (this.#fetching.has(id)) {
      this.#fetching.set(id, true);
      return;
    }
    this.#fetching.set(id, false);
    const found = await api.conversation(id).catch(() => null);
    const changed = this.#fetching.get(id);
    this.#fetching.delete(id);
    if (changed) {
      await this.#fetch(id);
      return;
    }
    if (!found || found.archived !== this.#archived || this.#isBeyond(found)) return;
    this.#items.set(id, { ...found, ...this.#items.get(id) });
    if (!this.#order.includes(id)) this.#order.push(id);
    this.#order.sort((one, other) => when(this.#items.get(other)) - when(this.#items.get(one)));
    this.#draw();
  }

  // Older than all loaded conversations: scrolling loads it.
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

  /** Show the archived conversations, or the others. */
  showArchived(archived) {
    this.#archived = archived;
    [this.#cursor, this.#more, this.#order] = [null, true, []];
    this.#heading.hidden = !archived;
    this.#heading.replaceChildren(
      h('span', {}, 'Archived'),
      h('button', { type: 'button', class: 'link', onclick: () => this.showArchived(false) }, 'Back'),
    );
    return this.refresh();
  }

  async #loadMore() {
    if (!this.#more || this.#loading || this.#found || !this.#cursor) return;
    const [cursor, archived] = [this.#cursor, this.#archived];
    this.#loading = true;
    try {
      const page = await api.conversations({ cursor, archived });
      if (cursor !== this.#cursor || archived !== this.#archived) return;
      for (const item of page.items) this.#items.set(item.id, { ...this.#items.get(item.id), ...item });
      this.#order = [...new Set([...this.#order, ...page.items.map(({ id }) => id)])];
      [this.#cursor, this.#more] = [page.next_cursor, Boolean(page.next_cursor)];
      this.#draw();
    } catch {
      // The next scroll repeats the request.
    } finally {
      this.#loading = false;
    }
  }

  // --- search --------------------------------------------------------------------------------------------------

  // While the server cannot search, the loaded titles are searched.
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
    if (this.#found) this.#drawFound(this.#found);
    else this.#drawList(this.#order.map((id) => this.#items.get(id)));
  }

  #drawList(items) {
    const section = ([name, members]) => ({ name, entries: members.map((item) => this.#entry(item)) });
    if (items.length) this.#list.draw(grouped(items).map(section));
    else this.#list.drawNote(h('p', { class: 'nothing' }, this.#emptiness()));
  }

  #drawFound({ hits, more }) {
    const known = ({ conversation_id: id, title }) => ({ id, title, ...this.#items.get(id) });
    const entries = hits.map((hit) => this.#entry(known(hit), hit));
    const next = more && h('button', { type: 'button', class: 'link', onclick: more }, 'More');
    const footer = next ? [h('p', { class: 'nothing' }, next)] : [];
    if (entries.length) this.#list.draw([{ name: null, entries }], footer);
    else this.#list.drawNote(h('p', { class: 'nothing' }, 'Nothing found.'), ...footer);
  }

  #emptiness() {
    return this.#archived ? 'Nothing is archived.' : 'Your conversations will be here.';
  }

  // `hit`: what a search found in the conversation.
  #entry(item, hit = null) {
    const { id, model, has_active_generation: active = false } = item;
    const path = conversationPath(id, this.#app.models.chosen(model));
    return { key: `${hit ? 'found' : 'listed'} ${id}`, id, name: nameOf(item), path, active, hit };
  }
}

// One hit for each conversation: its newest message that fits, or its title.
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
