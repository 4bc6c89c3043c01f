/**
 * A feed of the service: named events with numbers (`GET /feed`, `GET /conversations/{id}/events`).
 *
 *     const feed = new Feed({
 *       url: '/api/v1/feed',
 *       token,                           // a function
 *       share: 'unbroken.feed.alice',    // the tabs that give the same name share one connection; null: alone
 *       onEvent: (event) => { … },       // {type, …}; each numbered event once, in order
 *       onMissed: () => { … },           // events are missing that the feed does not repeat: load everything again
 *       onState: (state) => { … },       // {name: connecting | live | waiting | offline | stopped}, as in stream.js
 *       onSignedOut: (token) => { … },
 *     });
 *     feed.begin(12);                    // the data that was loaded elsewhere includes event 12
 *
 * The leading tab reads and posts the events to the other tabs (tab_leader.js). When it goes away, the next tab reads
 * on from its own number.
 */

import { expired, open, Pauses, readEvents, refusal, TIMES } from './reconnecting_stream.js';
import { canShare, TabLeader } from './tab_leader.js';

const RECENT = 500; // events that are kept for the next call of `begin`

export class Feed {
  #options;
  #cursor = null; // the number of the last event; null until `begin`
  #recent = []; // the newest events: [number, event]
  #tabs = null; // TabLeader, or null: this tab reads for itself alone
  #reading = null; // the promise of reading, while this tab reads
  #ended = false; // refused: this tab does not read again
  #state = { name: 'connecting' };
  #pauses = new Pauses();
  #stop = new AbortController();

  constructor(options) {
    this.#options = options;
    if (!options.share || !canShare()) return;
    this.#tabs = new TabLeader(options.share, {
      onMessage: (message) => this.#onMessage(message),
      onSilence: () => this.#read(),
      beat: () => ({ state: this.#state }),
    });
  }

  /** Whether events arrive as they happen. */
  get live() {
    return this.#state.name === 'live';
  }

  get state() {
    return this.#state;
  }

  /** Read from after event `number`. To be called again when everything was loaded again. */
  begin(number) {
    const first = this.#cursor === null;
    if (first) this.#cursor = number;
    // Data that was requested before these events came may lack them.
    for (const [id, event] of this.#recent) {
      if (id <= number) continue;
      this.#cursor = Math.max(this.#cursor, id);
      this.#options.onEvent(event);
    }
    if (first && !this.#stop.signal.aborted) this.#run();
  }

  stop() {
    this.#stop.abort();
    this.#tabs?.close();
  }

  retryNow() {
    this.#pauses.wake();
  }

  #run() {
    if (!this.#tabs) {
      this.#read();
      return;
    }
    this.#tabs.watch();
    this.#tabs.post({ hello: true });
    this.#tabs.lead(() => this.#read(), { signal: this.#stop.signal });
  }

  #onMessage({ hello, state, id, event, missed }) {
    if (this.#reading) {
      if (hello) this.#tabs.post({ state: this.#state });
      return;
    }
    if (state) this.#setState(state);
    if (event) this.#apply(id, event);
    if (missed) this.#options.onMissed();
  }

  #pass(message) {
    if (!this.#stop.signal.aborted) this.#tabs?.post(message);
  }

  #setState(state) {
    if (state.name === 'live' && this.live) return;
    this.#state = state;
    this.#options.onState?.(state);
    if (this.#reading) this.#pass({ state });
  }

  // Returns whether the event was new.
  #apply(id, event) {
    if (id !== null) {
      if (this.#recent.push([id, event]) > RECENT) this.#recent.shift();
      if (this.#cursor === null || id <= this.#cursor) return false;
      // Only a listening tab can have a hole: the leader receives all events.
      if (id > this.#cursor + 1 && !this.#reading) this.#options.onMissed();
      this.#cursor = id;
    }
    this.#options.onEvent(event);
    return true;
  }

  // --- reading -------------------------------------------------------------------------------------------------

  // A tab that reads alone and then gets the lock holds the lock for as long as it reads.
  #read() {
    if (!this.#ended) this.#reading ??= this.#readOn();
    return this.#reading;
  }

  async #readOn() {
    if (this.#tabs) this.#tabs.beats = true;
    const { signal } = this.#stop;
    globalThis.addEventListener('online', this.#pauses.wake, { signal });
    while (!signal.aborted) {
      const outcome = await this.#connect().catch(() => ({}));
      if (signal.aborted) break;
      if (outcome.end) {
        this.#setState({ name: 'stopped', reason: outcome.end, status: outcome.status });
        this.#ended = true;
        break;
      }
      await this.#pause(outcome);
    }
    this.#reading = null;
    if (this.#tabs) this.#tabs.beats = false;
  }

  async #connect() {
    const { url, token } = this.#options;
    const connection = await open(`${url}?from_seq=${this.#cursor}`, {
      token,
      stop: this.#stop.signal,
      limit: TIMES.firstByte,
      headers: { Accept: 'text/event-stream' },
    });
    if (!connection.response.ok) return this.#outcomeOf(await refusal(connection, token), connection);
    const take = ({ data, id }) => {
      const event = JSON.parse(data);
      if (event.type === 'auth') return { auth: true };
      this.#receive(event, id === null ? null : Number(id));
      return null;
    };
    const live = () => {
      this.#pauses.progress();
      this.#setState({ name: 'live' });
    };
    const outcome = await readEvents(connection, TIMES, take, live);
    return outcome?.auth ? this.#outcomeOf(await expired(connection.used, token), connection) : {};
  }

  #outcomeOf(outcome, { used }) {
    if (outcome.end === 'signed-out') this.#options.onSignedOut?.(used);
    // A feed has no end, so it reconnects after the longest wait even when Retry-After asks for more.
    return outcome.wait ? { ...outcome, wait: Math.min(outcome.wait, TIMES.longestWait) } : outcome;
  }

  #receive(event, id) {
    if (event.type === 'replay.end') {
      if (!event.missed) return;
      this.#pass({ missed: true });
      this.#options.onMissed();
    } else if (event.type !== 'connection.established' && this.#apply(id, event)) this.#pass({ id, event });
  }

  async #pause(outcome) {
    const delay = this.#pauses.delay(outcome);
    if (delay > 0) {
      const name = globalThis.navigator?.onLine === false ? 'offline' : 'waiting';
      this.#setState({ name, retryAt: Date.now() + delay, status: outcome.status });
    }
    await this.#pauses.sleep(delay, this.#stop.signal);
  }
}
