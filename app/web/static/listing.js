/** The conversations of the list: pages of the server, newest first, kept up to date by the events of the feed. */

import * as api from './api.js';

/** The filter of a list that shows every conversation that is not archived. */
export const EVERYTHING = { archived: false, tag: null, model: null };

const PINNED = 100; // pinned conversations that are loaded at once: the largest page of the server
const PREVIEW = 120; // characters
const LIVE = new Set(['queued', 'running']);
// The fields of a conversation that an event may change.
const CHANGING = ['title', 'model', 'archived', 'pinned', 'tags', 'unread', 'preview', 'temporary'];

export class Listing {
  #items = new Map(); // id → conversation
  #order = []; // ids, the newest first
  #cursor = null;
  #more = true;
  #loading = false;
  #filter = EVERYTHING;
  #fetching = new Map(); // id of a conversation that is being fetched → whether it has changed meanwhile
  #onChange;

  /** `onChange()` is called whenever the list has changed. */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** The conversations that the filter lets through, the newest first. */
  get shown() {
    return this.#order.map((id) => this.#items.get(id));
  }

  /** All conversations that are loaded, whatever list they came with. */
  get loaded() {
    return [...this.#items.values()];
  }

  get filter() {
    return this.#filter;
  }

  get(id) {
    return this.#items.get(id);
  }

  /** Begin another list. `refresh` loads it. */
  set filter(filter) {
    this.#filter = filter;
    [this.#cursor, this.#more, this.#order] = [null, true, []];
  }

  /**
   * Load the first page again; conversations of later pages stay. Resolves to the number of the feed's newest event that
   * the page knows, or to undefined when the user has changed to another list.
   */
  async refresh() {
    const filter = this.#filter;
    const first = this.#order.length === 0;
    const [page, pinned] = await Promise.all([api.conversations(filter), pinnedOf(filter)]);
    if (filter !== this.#filter) return undefined;
    this.#keep([...pinned, ...page.items]);
    const ids = page.items.map(({ id }) => id);
    if (first || !page.next_cursor) {
      [this.#cursor, this.#more] = [page.next_cursor, Boolean(page.next_cursor)];
      this.#order = ids;
    } else this.#order = unique([...ids, ...this.#order]);
    this.#order = unique([...this.#order, ...pinned.map(({ id }) => id)]);
    this.#onChange();
    return page.feed_seq;
  }

  /** Load the next page, if there is one. */
  async loadMore() {
    if (!this.#more || this.#loading || !this.#cursor) return;
    const [cursor, filter] = [this.#cursor, this.#filter];
    this.#loading = true;
    try {
      const page = await api.conversations({ ...filter, cursor });
      if (cursor !== this.#cursor || filter !== this.#filter) return;
      this.#keep(page.items);
      this.#order = unique([...this.#order, ...page.items.map(({ id }) => id)]);
      [this.#cursor, this.#more] = [page.next_cursor, Boolean(page.next_cursor)];
      this.#onChange();
    } catch {
      // The next scroll repeats the request.
    } finally {
      this.#loading = false;
    }
  }

  /** Add a new conversation of this page. */
  add(conversation) {
    const known = this.#items.get(conversation.id);
    this.#items.set(conversation.id, { last_message_at: new Date().toISOString(), ...conversation, ...known });
    if (isShownBy(this.#filter, this.#items.get(conversation.id))) this.#toFront(conversation.id);
    this.#onChange();
  }

  /** Update fields of a conversation. */
  touch(id, fields) {
    const item = this.#items.get(id);
    if (!item) return;
    Object.assign(item, fields);
    if (fields.has_active_generation) {
      item.last_message_at = new Date().toISOString();
      if (this.#order.includes(id)) this.#toFront(id);
    }
    if (!isShownBy(this.#filter, item)) this.#order = without(this.#order, id);
    this.#onChange();
  }

  remove(id) {
    this.#items.delete(id);
    this.#order = without(this.#order, id);
    this.#onChange();
  }

  // --- events of the feed --------------------------------------------------------------------------------------

  /** Apply an event of the feed. An event that comes twice changes nothing. */
  apply(event) {
    const { type, conversation_id: id } = event;
    const item = this.#items.get(id);
    if (type === 'conversation.deleted') this.remove(id);
    else if (type === 'conversation.updated') this.#applyChange(id, event);
    else if (!item || (isShownBy(this.#filter, item) && !this.#order.includes(id))) this.#fetch(id);
    else if (type === 'generation.updated') this.#answering(item, event.generation_id, true);
    else if (type === 'message.new' || type === 'message.updated') this.#applyMessage(item, event);
  }

  #applyChange(id, event) {
    const fields = Object.fromEntries(CHANGING.filter((name) => event[name] !== undefined).map((n) => [n, event[n]]));
    // A conversation that comes back into the list is fetched: the event lacks its time.
    if (!isShownBy(this.#filter, { ...this.#items.get(id), ...fields })) this.remove(id);
    else if (this.#order.includes(id)) this.touch(id, fields);
    else this.#fetch(id);
  }

  #applyMessage(item, { type, role, status, content, generation_id: generation, created_at: at }) {
    if (content) item.preview = content.slice(0, PREVIEW);
    if (role === 'assistant') {
      const begun = type === 'message.new' && LIVE.has(status);
      // The stream of the answer may have reported its end before the feed does.
      if (!begun && (item.has_active_generation || item.answers?.has(generation))) item.unread = true;
      this.#answering(item, generation, begun);
      return;
    }
    if (type === 'message.new' && at >= (item.last_message_at ?? '')) {
      item.last_message_at = at;
      if (this.#order.includes(item.id)) this.#toFront(item.id);
    }
    this.#onChange();
  }

  // Several answers of a conversation may wait for one another.
  #answering(item, generation, begun) {
    item.answers ??= new Set();
    if (begun) item.answers.add(generation);
    else item.answers.delete(generation);
    item.has_active_generation = item.answers.size > 0;
    this.#onChange();
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
    if (!found || !isShownBy(this.#filter, found) || this.#isBeyond(found)) return;
    this.#items.set(id, { ...this.#items.get(id), ...found });
    this.#order = unique([...this.#order, id]);
    this.#order.sort((one, other) => timeOf(this.#items.get(other)) - timeOf(this.#items.get(one)));
    this.#onChange();
  }

  // Older than all loaded conversations: scrolling loads it. A pinned one is always loaded.
  #isBeyond(found) {
    const last = this.shown.findLast((item) => !item.pinned);
    return this.#more && !found.pinned && last && timeOf(found) < timeOf(last);
  }

  #keep(items) {
    for (const item of items) this.#items.set(item.id, { ...this.#items.get(item.id), ...item });
  }

  #toFront(id) {
    this.#order = [id, ...without(this.#order, id)];
  }
}

/** The time of a conversation's newest message in milliseconds; now for one that has no message yet. */
export const timeOf = (item) =>
  Date.parse(item.last_message_at ?? item.last_updated ?? item.updated_at ?? item.created_at) || Date.now();

async function pinnedOf(filter) {
  if (filter.archived) return [];
  const { items } = await api.conversations({ ...filter, pinned: true, limit: PINNED });
  return items;
}

const isShownBy = ({ archived, tag, model }, item) =>
  Boolean(item.archived) === archived &&
  !item.temporary &&
  (tag === null || (item.tags ?? []).includes(tag)) &&
  (model === null || item.model === model);

const unique = (ids) => [...new Set(ids)];
const without = (ids, id) => ids.filter((other) => other !== id);
