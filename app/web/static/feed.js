/**
 * A feed of the service: named events with numbers (`GET /feed`, `GET /conversations/{id}/events`).
 *
 *     const feed = new Feed({
 *       url: '/api/v1/feed',
 *       token,                           // a function
 *       share: 'unbroken.feed.alice',    // the tabs that give the same name share one connection; null: alone
 *       onEvent: (event) => { … },       // {type, …}; each numbered event once, in order
 *       onMissed: () => { … },           // more was missed than the feed repeats: read the whole again
 *       onState: (state) => { … },       // {name: connecting | live | waiting | offline | stopped}, as in stream.js
 *       onSignedOut: (token) => { … },
 *     });
 *     feed.begin(12);                    // what was read elsewhere is as new as event 12
 *
 * The tab that holds the name's lock reads, and passes on what it reads; when it goes, the next one reads on from its
 * own number. A tab that reads and falls silent (a browser may freeze it) is not waited for.
 */

import { backoff, EventParser, retryAfter } from './stream.js';

const FIRST_BYTE = 20_000; // milliseconds
const SILENT = 45_000; // three heartbeats
const BEAT = 5_000; // the reading tab says that it is there
const ALONE = 20_000; // beyond it, a listening tab reads for itself
const RECENT = 500; // events that are kept for a tab that learns later where it stands

const able = () => Boolean(globalThis.navigator?.locks && globalThis.BroadcastChannel);

export class Feed {
  #options;
  #cursor = null; // the number of the last event; null until `begin`
  #recent = []; // heard before `begin`, or since: [id, event]
  #channel = null;
  #reading = false;
  #state = { name: 'connecting' };
  #heard = Date.now();
  #failures = 0;
  #wake = null;
  #stop = new AbortController();

  constructor(options) {
    this.#options = options;
    if (!options.share || !able()) return;
    this.#channel = new BroadcastChannel(options.share);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
  }

  /** Whether events arrive as they happen. */
  get live() {
    return this.#state.name === 'live';
  }

  get state() {
    return this.#state;
  }

  /** Everything up to event `number` is known; called again after reading everything anew. */
  begin(number) {
    const first = this.#cursor === null;
    if (first) this.#cursor = number;
    // A list that was asked for while events came may be older than they are.
    for (const [id, event] of this.#recent) {
      if (id <= number) continue;
      this.#cursor = Math.max(this.#cursor, id);
      this.#options.onEvent(event);
    }
    if (first && !this.#stop.signal.aborted) this.#run();
  }

  stop() {
    this.#stop.abort();
    this.#wake?.();
    this.#channel?.close();
  }

  retryNow() {
    this.#wake?.();
  }

  #run() {
    const { signal } = this.#stop;
    if (!this.#channel) {
      this.#read();
      return;
    }
    const watch = setInterval(() => {
      if (this.#reading) this.#channel.postMessage({ state: this.#state });
      else if (Date.now() - this.#heard > ALONE) this.#read();
    }, BEAT);
    signal.addEventListener('abort', () => clearInterval(watch), { once: true });
    this.#channel.postMessage({ hello: true });
    navigator.locks.request(this.#options.share, { signal }, () => this.#read()).catch(() => {});
  }

  #hear({ hello, state, id, event, missed }) {
    this.#heard = Date.now();
    if (this.#reading) {
      if (hello) this.#channel.postMessage({ state: this.#state });
      return;
    }
    if (state) this.#tell(state);
    if (event) this.#take(id, event);
    if (missed) this.#options.onMissed();
  }

  #pass(what) {
    if (this.#channel && !this.#stop.signal.aborted) this.#channel.postMessage(what);
  }

  #tell(state) {
    if (state.name === 'live' && this.live) return;
    this.#state = state;
    this.#options.onState?.(state);
    if (this.#reading) this.#pass({ state });
  }

  // Returns whether it was new.
  #take(id, event) {
    if (id !== null) {
      if (this.#recent.push([id, event]) > RECENT) this.#recent.shift();
      if (this.#cursor === null || id <= this.#cursor) return false;
      // A hole can only be one of this tab's hearing: the one that reads gets them all.
      if (id > this.#cursor + 1 && !this.#reading) this.#options.onMissed();
      this.#cursor = id;
    }
    this.#options.onEvent(event);
    return true;
  }

  // --- reading -------------------------------------------------------------------------------------------------

  async #read() {
    if (this.#reading) return;
    this.#reading = true;
    const { signal } = this.#stop;
    const wake = () => this.#wake?.();
    globalThis.addEventListener('online', wake, { signal });
    while (!signal.aborted) {
      const outcome = await this.#connect().catch(() => ({}));
      if (signal.aborted) break;
      if (outcome.end) {
        this.#tell({ name: 'stopped', reason: outcome.end, status: outcome.status });
        break;
      }
      await this.#pause(outcome);
    }
  }

  async #connect() {
    const { url, token, onSignedOut } = this.#options;
    const used = token();
    const connection = new AbortController();
    let watchdog = setTimeout(() => connection.abort(), FIRST_BYTE);
    try {
      const response = await fetch(`${url}?from_seq=${this.#cursor}`, {
        headers: { Accept: 'text/event-stream', ...(used ? { Authorization: `Bearer ${used}` } : {}) },
        signal: AbortSignal.any([this.#stop.signal, connection.signal]),
        cache: 'no-store',
        credentials: 'omit',
      });
      if (!response.ok) return await this.#refused(response, used);
      let expired = false;
      const parser = new EventParser(({ data, id }) => {
        const event = JSON.parse(data);
        if (event.type === 'auth') expired = true;
        else this.#receive(event, id === null ? null : Number(id));
      });
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        clearTimeout(watchdog);
        if (done) return {};
        watchdog = setTimeout(() => connection.abort(), SILENT);
        this.#failures = 0;
        this.#tell({ name: 'live' });
        parser.push(decoder.decode(value, { stream: true }));
        if (!expired) continue;
        if (token() !== used) return { wait: 0 };
        onSignedOut?.(used);
        return { end: 'signed-out' };
      }
    } finally {
      clearTimeout(watchdog);
      connection.abort();
    }
  }

  #receive(event, id) {
    if (event.type === 'replay.end') {
      if (!event.missed) return;
      this.#pass({ missed: true });
      this.#options.onMissed();
    } else if (event.type !== 'connection.established' && this.#take(id, event)) this.#pass({ id, event });
  }

  async #refused(response, used) {
    const { status } = response;
    if (status === 401) {
      if (this.#options.token() !== used) return { wait: 0 };
      this.#options.onSignedOut?.(used);
      return { end: 'signed-out', status };
    }
    const passing = status === 408 || status === 425 || status === 429 || status >= 500;
    return passing ? { status, wait: retryAfter(response.headers.get('Retry-After')) } : { end: 'refused', status };
  }

  async #pause({ wait = null, status }) {
    if (wait !== 0) this.#failures += 1;
    const delay = Math.max(wait ?? 0, this.#failures ? backoff(this.#failures - 1) : 0);
    if (delay > 0) {
      const name = globalThis.navigator?.onLine === false ? 'offline' : 'waiting';
      this.#tell({ name, retryAt: Date.now() + delay, status });
    }
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, delay);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = null;
  }
}
