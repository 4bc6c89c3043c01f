// Modules of the page in virtual time, one case each, against a server that follows a script.
//
//     node --experimental-vm-modules module_cases.mjs <directory of the modules> <case> [argument]
//
// A case throws where the modules do something else.

import assert from 'node:assert/strict';
import { Browser, Clock, randomOf, Tab } from './virtual_world.mjs';

const [directory, name, argument] = process.argv.slice(2);
const encoder = new TextEncoder();
const HELLO = { type: 'connection.established' };
const ANSWER = [
  { id: '1-0', type: 'snapshot', text: '', reason: 'start' },
  { id: '1-1', type: 'token', content: 'Hello, ' },
  { id: '1-2', type: 'token', content: 'sea' },
  { id: '1-3', type: 'done', status: 'completed' },
];
const WHOLE = { id: 'g1', status: 'completed', events: ANSWER };

class Server {
  asked = []; // {at, path}

  // `reply(path)` returns {status, headers, body} or {pieces: [[pause, text], …], isOpen}.
  constructor(clock, reply) {
    Object.assign(this, { clock, reply });
  }

  fetch(tab, url, { signal }) {
    const { pathname, search } = new URL(url, 'http://server');
    const path = `${pathname}${search}`.replace('/api/v1', '');
    this.asked.push({ at: this.clock.now, path });
    const { status = 200, headers = {}, body, pieces = [[0, JSON.stringify(body)]], isOpen } = this.reply(path);
    const stream = new Body(this, tab, pieces, isOpen);
    return new Promise((resolve, reject) => {
      const fail = () => reject(new DOMException('aborted', 'AbortError'));
      signal.addEventListener('abort', () => (stream.fail(), fail()), { once: true });
      const response = { ok: status < 300, status, headers: new Headers(headers), body: { getReader: () => stream } };
      this.clock.at(this.clock.now + 5, () => tab.task(() => resolve(response)));
    });
  }

  /** The requests whose path has this text. */
  having(text) {
    return this.asked.filter(({ path }) => path.includes(text));
  }
}

class Body {
  #reject = null;
  #isBroken = false;

  constructor({ clock }, tab, pieces, isOpen) {
    Object.assign(this, { clock, tab, pieces: [...pieces], isOpen });
  }

  read() {
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      if (this.#isBroken) this.fail();
      else if (this.pieces.length) this.#give(this.pieces.shift(), resolve);
      else if (!this.isOpen) resolve({ done: true });
    });
  }

  #give([pause, text], resolve) {
    const value = encoder.encode(text);
    this.clock.at(this.clock.now + pause, () => this.tab.task(() => resolve({ done: false, value })));
  }

  fail() {
    this.#isBroken = true;
    this.#reject?.(new DOMException('aborted', 'AbortError'));
  }
}

const frame = (event, id) =>
  `event: ${event.type}\ndata: ${JSON.stringify(event)}\n${id === undefined ? '' : `id: ${id}\n`}\n`;
const carried = ({ id, ...event }) =>
  `event: generation.event\ndata: ${JSON.stringify({ generation_id: 'g1', cursor: id, ...event })}\n\n`;
const refused = (status, field, headers = {}) => ({ status, headers, body: { errors: field ? [{ field }] : [] } });
const feed = (...pieces) => ({ pieces: [[0, frame(HELLO)], ...pieces], isOpen: true });

function world(reply) {
  const clock = new Clock();
  const random = randomOf(1);
  const server = new Server(clock, (path) => reply(path, clock.now));
  return { clock, server, browser: new Browser(clock, random) };
}

async function open({ browser, server, clock }, newest) {
  const tab = new Tab(browser, server, browser.tabs.length);
  const { SharedConnection } = await tab.load(directory, 'shared_connection.js');
  const seen = { events: [], missed: 0 };
  // As the page does when it has loaded its list.
  const load = () => clock.at(clock.now + 20, () => tab.task(() => seen.connection.begin(newest())));
  seen.connection = new SharedConnection({
    url: '/api/v1',
    token: () => 'secret',
    name: 'one',
    onEvent: ({ n }) => n && seen.events.push(n),
    onMissed: () => {
      seen.missed += 1;
      load();
    },
  });
  load();
  return seen;
}

const CASES = {
  /** A poll that is refused for a minute is not repeated before, whatever the feed brings meanwhile. */
  async held() {
    const token = (_, n) => ({ id: `1-${n + 2}`, type: 'token', content: 'sea' });
    const all = Array.from({ length: 500 }, token).map((event) => [100, carried(event)]);
    const it = world((path, now) => {
      if (path.startsWith('/feed')) return feed(...all);
      return now < 60_000 ? refused(503, null, { 'Retry-After': '60' }) : { body: WHOLE };
    });
    const { connection } = await open(it, () => 4);
    let end = null;
    const reader = connection.follow('g1', {});
    reader.finished.then((outcome) => (end = outcome));
    await it.clock.run(40_000);
    assert.equal(it.server.having('/generations/').length, 1);
    reader.retryNow();
    await it.clock.run(41_000);
    assert.equal(it.server.having('/generations/').length, 2);
    await it.clock.run(110_000);
    assert.equal(it.server.having('/generations/').length, 3);
    assert.equal(end?.reason, 'done');
  },

  /** A proxy that refuses the feed for a while is asked again, and the leader is live after it. */
  async refused() {
    const it = world((path, now) => (now < 60_000 ? refused(404) : feed()));
    const { connection } = await open(it, () => 4);
    await it.clock.run(110_000);
    assert.equal(it.server.asked.length, 1);
    assert.equal(connection.live, false);
    await it.clock.run(130_000);
    assert.equal(it.server.asked.length, 2);
    assert.equal(connection.live, true);
  },

  /** A server that was restored from a backup counts from a lower number, and all tabs do after one reload. */
  async restored() {
    const change = (n) => [5000, frame({ type: 'conversation.updated', n }, n)];
    const it = world((path, now) => {
      if (now < 10_000) return refused(503);
      return path.includes('from_seq=100') ? refused(400, 'from_seq') : feed(change(41), change(42));
    });
    const newest = () => (it.clock.now < 10_000 ? 100 : 40);
    const one = await open(it, newest);
    await it.clock.run(500);
    const other = await open(it, newest);
    await it.clock.run(60_000);
    for (const { events, missed } of [one, other])
      assert.deepEqual({ events, missed }, { events: [41, 42], missed: 1 });
    const numbers = it.server.asked.map(({ path }) => path.match(/from_seq=(\d*)/)[1]);
    assert.deepEqual([...new Set(numbers)], ['100', '40']);
    assert.equal(numbers.filter((number) => number === '40').length, 1);
  },

  /** The reply to a poll may take long while it grows; one that stands still is given up. */
  async slow() {
    const text = JSON.stringify(WHOLE);
    const cut = Math.ceil(text.length / 12);
    const pieces = Array.from({ length: 12 }, (_, n) => [3000, text.slice(n * cut, (n + 1) * cut)]);
    let polls = 0;
    const it = world(() => {
      polls += 1;
      return polls === 1 ? { pieces: pieces.slice(0, 3), isOpen: true } : { pieces };
    });
    const tab = new Tab(it.browser, it.server, 0);
    const { SharedConnection } = await tab.load(directory, 'shared_connection.js');
    const connection = new SharedConnection({ url: '/api/v1', token: () => 'secret', name: 'one' });
    let end = null;
    connection.follow('g1', {}).finished.then((outcome) => (end = outcome));
    await it.clock.run(100_000);
    assert.deepEqual([end?.reason, end?.transcript.text, polls], ['done', 'Hello, sea', 2]);
  },

  /** A reply that does not end is cut off at the largest size of a reply. */
  async endless() {
    const it = world(() => ({}));
    const tab = new Tab(it.browser, it.server, 0);
    const { json } = await tab.load(directory, 'reconnecting_stream.js');
    const MIB = 2 ** 20;
    const piece = new TextEncoder().encode(' '.repeat(MIB));
    let [pieces, aborted] = [0, 0];
    const reader = { read: async () => (pieces++ < 200 ? { value: piece } : { done: true }) };
    const response = { body: { getReader: () => reader } };
    await assert.rejects(json({ response, abort: () => (aborted += 1) }), { message: 'a reply is too large' });
    assert.deepEqual([pieces, aborted], [65, 1]);
  },

  /** A conversation that a failed request was to name is named again later, and not in a storm. */
  async named() {
    const it = world((path, now) => (path.includes('presence') && now < 40_000 ? refused(503) : feed()));
    const { connection } = await open(it, () => 4);
    await it.clock.run(1000);
    connection.show(['c1']);
    await it.clock.run(80_000);
    const named = it.server.having('presence=c1');
    assert.ok(named.at(-1).at >= 40_000, 'the last request was refused');
    assert.ok(named.length >= 3 && named.length <= 6, `${named.length} requests`);
  },

  /** The types of `argument` are read as text. */
  async office() {
    const it = world(() => ({}));
    const tab = new Tab(it.browser, it.server, 0);
    const { isReadAsText, whyNot } = await tab.load(directory, 'file_words.js');
    for (const type of JSON.parse(argument)) {
      assert.equal(whyNot(type, { images: false }, true), null, type);
      assert.equal(isReadAsText(type, { files: 'text' }), true, type);
    }
    assert.equal(whyNot('application/zip', { images: false }, true), 'kind');
    assert.equal(whyNot('application/vnd.oasis.opendocument.graphics', { images: false }, true), 'kind');
  },
};

await CASES[name]();
