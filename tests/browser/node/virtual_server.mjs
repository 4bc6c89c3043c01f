// The server of the virtual world: a feed with running answers, and polls. It can be away, and it breaks connections.

const encoder = new TextEncoder();

export class Server {
  answers = new Map(); // id → [{at, id, type, …}], the whole truth; an event exists from its time on
  feed = []; // [{at, number, event}]
  open = new Set(); // connections of the feed
  most = 0; // the largest number of tabs that were connected at a time
  isAway = false;
  isCalm = false; // nothing breaks any more

  constructor(clock, random) {
    Object.assign(this, { clock, random });
  }

  /** An answer of `count` tokens that begins at `at`. */
  addAnswer(id, at, count, apart) {
    const events = [{ at, id: '1-0', type: 'snapshot', text: '', reason: 'start' }];
    let time = at;
    let epoch = 1;
    let n = 0;
    let text = '';
    for (let token = 0; token < count; token += 1) {
      time += this.random() * 2 * apart;
      if (this.random() < 0.02) {
        // Another worker takes the answer over.
        epoch += 1;
        n = 0;
        events.push({ at: time, id: `${epoch}-0`, type: 'snapshot', text, reason: 'takeover' });
      }
      n += 1;
      const content = `${token} `;
      text += content;
      events.push({ at: time, id: `${epoch}-${n}`, type: 'token', content });
    }
    events.push({ at: time, id: `${epoch}-${n + 1}`, type: 'done', status: 'completed' });
    this.answers.set(id, events);
    this.addEvent(at, { type: 'message.new', generation_id: id });
    this.addEvent(time + this.random() * 50, { type: 'message.updated', generation_id: id });
  }

  addEvent(at, event) {
    this.feed.push({ at, event });
    this.feed.sort((one, other) => one.at - other.at);
  }

  text(id) {
    return this.answers.get(id).reduce((text, { type, content }) => (type === 'token' ? text + content : text), '');
  }

  /** The number of tabs that are connected and not frozen. */
  get connected() {
    return new Set([...this.open].map(({ tab }) => tab).filter((tab) => !tab.isFrozen)).size;
  }

  fetch(tab, url, { signal }) {
    return new Promise((resolve, reject) => {
      const fail = () => reject(new DOMException('aborted', 'AbortError'));
      if (signal?.aborted) return fail();
      signal?.addEventListener('abort', fail, { once: true });
      const after = 2 + this.random() * 30;
      this.clock.at(this.clock.now + after, () => {
        if (signal?.aborted || tab.isGone) return;
        if (this.isAway || (!this.isCalm && this.random() < 0.02))
          return tab.task(() => reject(new TypeError('network')));
        const { pathname, searchParams } = new URL(url, 'http://server');
        const reply = pathname.endsWith('/feed')
          ? this.#stream(tab, searchParams, signal)
          : this.#poll(pathname, searchParams);
        const back = this.random() * 10;
        this.clock.at(this.clock.now + back, () => tab.task(() => resolve(reply)));
      });
    });
  }

  #poll(pathname, query) {
    const id = pathname.split('/').at(-1);
    const known = this.answers.get(id).filter(({ at }) => at <= this.clock.now);
    const begin = 1 + known.findIndex((event) => event.id === query.get('after'));
    const events = known.slice(begin).map(({ at, ...event }) => event);
    const status = known.at(-1)?.type === 'done' ? 'completed' : known.length ? 'running' : 'queued';
    const body = { id, status, events, queue_position: null, content: '' };
    const pieces = [{ done: false, value: encoder.encode(JSON.stringify(body)) }, { done: true }];
    const reader = { read: async () => pieces.shift() };
    return { ok: true, status: 200, headers: new Headers(), body: { getReader: () => reader } };
  }

  #stream(tab, query, signal) {
    const connection = new Connection(this, tab, query);
    this.open.add(connection);
    tab.connections.add(connection);
    this.most = Math.max(this.most, this.connected);
    signal?.addEventListener('abort', () => connection.abort(), { once: true });
    connection.begin();
    const reader = { read: () => connection.read() };
    return { ok: true, status: 200, headers: new Headers(), body: { getReader: () => reader } };
  }
}

class Connection {
  #pieces = [];
  #reading = null;
  #over = null;
  #positions = new Map();
  #number;

  constructor(server, tab, query) {
    Object.assign(this, { server, tab });
    this.#number = Number(query.get('from_seq'));
    for (const pair of (query.get('after') ?? '').split(',').filter(Boolean)) {
      const [id, cursor] = pair.split(':');
      this.#positions.set(id, cursor);
    }
  }

  begin() {
    const { clock } = this.server;
    this.#send('event: connection.established\ndata: {"type":"connection.established"}\n\n');
    // The answers that run now, and those that were named.
    this.carried = new Map();
    for (const [id, events] of this.server.answers) {
      const runs = events[0].at <= clock.now && events.at(-1).at > clock.now;
      if (runs || this.#positions.has(id))
        this.carried.set(id, 1 + events.findIndex((event) => event.id === this.#positions.get(id)));
    }
    this.#pump();
  }

  #pump() {
    const { clock, random, feed, answers, isAway, isCalm } = this.server;
    if (this.#over) return;
    if (isAway || (!isCalm && random() < 0.0005)) return this.#break();
    let text = '';
    while (this.#number < feed.length && feed[this.#number].at <= clock.now) {
      const { event } = feed[this.#number];
      this.#number += 1;
      text += `event: ${event.type}\ndata: ${JSON.stringify(event)}\nid: ${this.#number}\n\n`;
      if (event.type === 'message.new' && !this.carried.has(event.generation_id))
        this.carried.set(event.generation_id, 0);
    }
    for (const [id, from] of this.carried) {
      const events = answers.get(id);
      let next = from;
      for (; next < events.length && events[next].at <= clock.now; next += 1) {
        const { at, id: cursor, ...event } = events[next];
        text += `event: generation.event\ndata: ${JSON.stringify({ generation_id: id, cursor, ...event })}\n\n`;
      }
      this.carried.set(id, next);
    }
    this.#idle = text ? 0 : (this.#idle ?? 0) + 1;
    if (this.#idle > 500) [text, this.#idle] = [': ka\n', 0];
    if (text) this.#send(text);
    clock.at(clock.now + 10 + random() * 20, () => this.#pump());
  }
  #idle = 0;

  // The bytes may be cut anywhere.
  #send(text) {
    const bytes = encoder.encode(text);
    const cut = Math.floor(this.server.random() * bytes.length);
    for (const piece of [bytes.slice(0, cut), bytes.slice(cut)]) if (piece.length) this.#pieces.push(piece);
    this.#wake();
  }

  #wake() {
    const { clock } = this.server;
    clock.at(clock.now, () =>
      this.tab.task(() => {
        const reading = this.#reading;
        if (!reading || (!this.#pieces.length && !this.#over)) return;
        this.#reading = null;
        if (this.#pieces.length) reading.resolve({ done: false, value: this.#pieces.shift() });
        else reading.reject(this.#over);
      }),
    );
  }

  read() {
    return new Promise((resolve, reject) => {
      this.#reading = { resolve, reject };
      this.#wake();
    });
  }

  #break() {
    this.#over = new TypeError('network');
    this.#end();
  }

  abort() {
    this.#pieces = [];
    this.#over = new DOMException('aborted', 'AbortError');
    this.#end();
  }

  #end() {
    this.server.open.delete(this);
    this.tab.connections.delete(this);
    this.#wake();
  }
}
