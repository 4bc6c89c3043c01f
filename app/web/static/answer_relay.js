/**
 * The events of running answers, on their way from the connection of the leading tab to the readers of all tabs.
 *
 * Each answer has a channel of its own, so that a tab receives only the answers that it shows. The events of one piece
 * of the stream are one message, with the cursor that they follow. The leader notes the cursor of each answer. Its beats
 * bring the cursors to the other tabs, and the next leader continues behind them.
 */

import { compare } from './transcript.js';

const START = '0-0';
const MOST = 50; // answers whose cursors are kept, and named in a request; and as many that have ended

function keep(cursors, id, cursor) {
  cursors.delete(id);
  cursors.set(id, cursor);
  if (cursors.size > MOST) cursors.delete(cursors.keys().next().value);
}

export class AnswerRelay {
  #name;
  #leads = false;
  #topics = new Map(); // generation id → {channel, readers}
  #cursors = new Map(); // generation id → cursor of its newest event on the connection, the newest change last
  #ended = new Map(); // the same of answers that have ended: a second connection may repeat them
  #pending = new Map(); // generation id → {after, events}: what the piece that is being read has of it
  #refused = false; // the server has refused the positions

  constructor(name) {
    this.#name = name;
  }

  attach(reader) {
    this.#topic(reader.generationId).readers.add(reader);
  }

  detach(reader) {
    this.#topics.get(reader.generationId)?.readers.delete(reader);
    this.#release(reader.generationId);
  }

  lead() {
    this.#leads = true;
    this.#refused = false;
  }

  yield() {
    this.#leads = false;
    this.#pending.clear();
    for (const id of [...this.#topics.keys()]) this.#release(id);
  }

  close() {
    for (const { channel } of this.#topics.values()) channel.close();
    this.#topics.clear();
  }

  /** The cursors by generation, for a beat. */
  get cursors() {
    return Object.fromEntries(this.#cursors);
  }

  /** Keep the cursors of the leader's beat. */
  learn(cursors) {
    this.#cursors = new Map(Object.entries(cursors));
  }

  /** The positions to continue at, as the feed's `after` takes them; '' for none. */
  positions() {
    if (this.#refused) return '';
    for (const { generationId: id, cursor } of this.#readers)
      if (cursor !== START && !this.#cursors.has(id) && !this.#ended.has(id)) keep(this.#cursors, id, cursor);
    return [...this.#cursors].map(([id, cursor]) => `${id}:${cursor}`).join(',');
  }

  /** Name no positions for now: the server has refused them. Returns whether there were any. */
  refuse() {
    const had = this.positions() !== '';
    this.#refused = true;
    this.#cursors.clear();
    return had;
  }

  /** Pass on an event of the connection, as `generation.event` has it. */
  receive({ generation_id: id, cursor, ...event }) {
    // The `open` of a running answer has no cursor.
    if (!cursor || !this.#leads) return;
    this.#refused = false;
    const after = this.#cursors.get(id) ?? this.#ended.get(id) ?? START;
    if (compare(after, cursor) === 'repeat') return;
    this.#note(id, cursor, event.type === 'done');
    // All events of a piece are parsed before the microtasks run.
    if (this.#pending.size === 0) queueMicrotask(() => this.#flush());
    if (!this.#pending.has(id)) this.#pending.set(id, { after, events: [] });
    this.#pending.get(id).events.push({ ...event, id: cursor });
  }

  #note(id, cursor, isEnd) {
    keep(isEnd ? this.#ended : this.#cursors, id, cursor);
    if (isEnd) this.#cursors.delete(id);
  }

  #flush() {
    const pending = this.#pending;
    this.#pending = new Map();
    for (const [id, piece] of pending) {
      const { channel, readers } = this.#topic(id);
      channel.postMessage(piece);
      for (const reader of [...readers]) reader.take(piece);
      this.#release(id);
    }
  }

  get #readers() {
    return [...this.#topics.values()].flatMap(({ readers }) => [...readers]);
  }

  #topic(id) {
    if (!this.#topics.has(id)) {
      const channel = new BroadcastChannel(`${this.#name}.${id}`);
      const readers = new Set();
      channel.onmessage = ({ data }) => {
        for (const reader of [...readers]) reader.take(data);
      };
      this.#topics.set(id, { channel, readers });
    }
    return this.#topics.get(id);
  }

  // A topic without readers is kept by the leader while its answer goes on.
  #release(id) {
    const topic = this.#topics.get(id);
    if (!topic || topic.readers.size || (this.#leads && this.#cursors.has(id))) return;
    topic.channel.close();
    this.#topics.delete(id);
  }
}
