/**
 * One open connection to a feed (`GET /feed`, `GET /conversations/{id}/events`), opened again whenever it breaks.
 *
 *     const feed = new Feed({
 *       address: () => '/api/v1/feed?from_seq=12', // asked before each attempt
 *       token,                                     // as in stream.js
 *       onEvent: (name, event, id) => { … },       // id: the event's number, or null
 *       onBytes: () => { … },                      // something has arrived, perhaps a heartbeat only
 *       onState: (state) => { … },                 // {name: connecting | live | waiting | offline | stopped}
 *       onRefused: ({status, problem}) => { … },   // returns whether another address is worth an attempt
 *       onKept: () => { … },                       // after `refresh`: there is no new connection, the old one stays
 *       onSignedOut: (token) => { … },
 *     });
 *     feed.start();
 */

import { expired, open, Pauses, readEvents, refusal, TIMES } from './reconnecting_stream.js';

const SLOW = 1_000; // milliseconds, after which an attempt is shown

export class Feed {
  #options;
  #pauses = new Pauses();
  #stop = new AbortController();
  #current = null; // the connection that is being read
  #next = null; // a connection that takes its place
  #isOpening = false;
  #isLive = false;

  constructor(options) {
    this.#options = options;
  }

  async start() {
    const { signal } = this.#stop;
    globalThis.addEventListener?.('online', this.#pauses.wake, { signal });
    while (!signal.aborted) {
      const outcome = await this.#connect().catch(() => ({}));
      if (signal.aborted) return;
      if (outcome.end) {
        this.#show({ name: 'stopped', reason: outcome.end, status: outcome.status });
        return;
      }
      if (!this.#next) await this.#pause(outcome);
    }
  }

  stop() {
    this.#stop.abort();
  }

  retryNow() {
    this.#pauses.wake();
  }

  /** Go over to the address of now. The old connection is read until the new one is there. */
  async refresh() {
    const before = this.#current;
    if (!before || this.#isOpening) return;
    this.#isOpening = true;
    const next = await this.#open().catch(() => null);
    this.#isOpening = false;
    const isStill = this.#current === before;
    if (isStill && next?.response.ok) {
      this.#next = next;
      before.abort();
      return;
    }
    next?.abort();
    if (isStill) this.#options.onKept?.();
  }

  #open() {
    const { address, token } = this.#options;
    return open(address(), {
      token,
      stop: this.#stop.signal,
      limit: TIMES.firstByte,
      headers: { Accept: 'text/event-stream' },
    });
  }

  async #connect() {
    const slow = setTimeout(() => this.#show({ name: 'connecting' }), SLOW);
    try {
      const connection = this.#next ?? (await this.#open());
      this.#next = null;
      if (!connection.response.ok) return this.#refused(connection);
      this.#current = connection;
      const live = () => {
        clearTimeout(slow);
        this.#live();
      };
      const outcome = await readEvents(connection, TIMES, (frame) => this.#receive(frame), live);
      return outcome?.auth ? this.#signedOut(await expired(connection.used, this.#options.token), connection) : {};
    } finally {
      clearTimeout(slow);
      this.#current = null;
    }
  }

  #receive({ data, event: name, id }) {
    // A connection that was stopped may still have a piece to read.
    if (this.#stop.signal.aborted) return { stopped: true };
    const event = JSON.parse(data);
    if (event.type === 'auth') return { auth: true };
    this.#options.onEvent(name, event, id === null ? null : Number(id));
    return null;
  }

  async #refused(connection) {
    const { end, ...outcome } = await refusal(connection, this.#options.token);
    if (end !== 'refused') return this.#signedOut({ end, ...outcome }, connection);
    if (this.#options.onRefused?.(outcome)) return {};
    // A proxy may let the feed through later, and a feed has no end.
    return { ...outcome, wait: TIMES.longestWait };
  }

  #signedOut(outcome, { used }) {
    if (outcome.end === 'signed-out') this.#options.onSignedOut?.(used);
    // A feed has no end, so it reconnects after the longest wait even when Retry-After asks for more.
    return outcome.wait ? { ...outcome, wait: Math.min(outcome.wait, TIMES.longestWait) } : outcome;
  }

  #live() {
    this.#pauses.progress();
    this.#options.onBytes?.();
    if (!this.#isLive) this.#show({ name: 'live' });
  }

  #show(state) {
    this.#isLive = state.name === 'live';
    this.#options.onState?.(state);
  }

  async #pause(outcome) {
    const delay = this.#pauses.delay(outcome);
    if (delay > 0) {
      const name = globalThis.navigator?.onLine === false ? 'offline' : 'waiting';
      const { failures: attempt } = this.#pauses;
      this.#show({ name, retryAt: Date.now() + delay, status: outcome.status, attempt });
    }
    await this.#pauses.sleep(delay, this.#stop.signal);
  }
}
