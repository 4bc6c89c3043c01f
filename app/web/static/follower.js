/** The reader behind `follow` and `begin` of stream.js: it connects, reconnects, polls and checks. */

import { sha256 } from './random_and_hash.js';
import { expired, json, open, Pauses, readEvents, refusal, TIMES as SHARED_TIMES } from './reconnecting_stream.js';
import { compare, Transcript } from './transcript.js';

const TIMES = Object.freeze({
  ...SHARED_TIMES,
  pollWait: 25, // seconds
  pollPause: 300,
  pollingPeriod: 60_000,
});
const FAILURES_BEFORE_POLLING = 3;
const TERMINAL = new Set(['completed', 'error', 'cancelled']);
const START = '0-0';

/** The event `open` for the JSON that accepts the POST of `request`; null for other JSON. */
export function openEvent(reply, request) {
  const generation = reply?.generation;
  if (!generation?.id) return null;
  return {
    type: 'open',
    generation_id: generation.id,
    conversation_id: generation.conversation_id,
    message_id: generation.message_id,
    user_message_id: reply.message?.message_id,
    conversation_created: !request.conversation_id,
    status: generation.status,
  };
}

export class Follower {
  /** Resolves at the end, never rejects: {reason, status?, problem?, token? (that was refused), transcript, cursor}. */
  finished;
  transcript;

  #options;
  #request; // the POST that is still unacknowledged, or null
  #url;
  #cursor;
  #stop = new AbortController();
  #failures = 0;
  #pauses = new Pauses();
  #pollingSince = null;
  #reported = null;
  #whole;
  #times;

  constructor({ url, request, cursor = START, transcript, signal, times, ...options }) {
    this.#options = options;
    this.#request = request;
    this.#url = url;
    this.#cursor = cursor;
    this.transcript = transcript ?? new Transcript();
    this.#whole = cursor === START || transcript !== undefined;
    this.#times = { ...TIMES, ...times };
    signal?.addEventListener('abort', () => this.stop(), { once: true });
    if (signal?.aborted) this.#stop.abort();
    this.finished = this.#run();
  }

  /** The id of the last event received. */
  get cursor() {
    return this.#cursor;
  }

  /** Stop reading. The generation itself goes on: this is not a cancel. */
  stop() {
    this.#stop.abort();
  }

  /** End a pause now, for a button "Try now". */
  retryNow() {
    this.#pauses.wake();
  }

  async #run() {
    const { wake } = this.#pauses;
    globalThis.addEventListener?.('online', wake);
    try {
      while (!this.#stop.signal.aborted) {
        const outcome = await this.#attempt();
        if (outcome.end) return this.#end(outcome);
        await this.#pause(outcome);
      }
      return this.#end({ end: 'stopped' });
    } finally {
      globalThis.removeEventListener?.('online', wake);
    }
  }

  async #attempt() {
    try {
      const outcome = this.#pollingSince === null ? await this.#stream() : await this.#poll();
      if (outcome.end === 'done' || outcome.end === 'nothing-left') return await this.#check(outcome);
      return outcome;
    } catch (error) {
      return this.#stop.signal.aborted ? { end: 'stopped' } : { why: error };
    }
  }

  #end(outcome) {
    const { end: reason, status, problem, used } = outcome;
    this.#state(reason === 'done' ? { name: 'finished' } : { name: 'stopped', reason, status, problem });
    return { reason, status, problem, token: used, transcript: this.transcript, cursor: this.#cursor };
  }

  // Reported once for each change: thousands of tokens are one `live`.
  #state(state) {
    const steady = state.name === 'live' || state.name === 'polling';
    if (steady && state.name === this.#reported) return;
    this.#reported = state.name;
    this.#options.onState?.(state);
  }

  #emit(event) {
    this.transcript.add(event);
    this.#options.onEvent?.(event);
  }

  #fetch(url, options) {
    return open(url, { token: this.#options.token, stop: this.#stop.signal, ...options });
  }

  // The outcome of a response that is not the expected one.
  async #refusal(connection) {
    const outcome = await refusal(connection, this.#options.token, this.#times);
    const { status, problem, wait } = outcome;
    return (wait ?? 0) > this.#times.longestWait ? { end: 'refused', status, problem } : outcome;
  }

  #open() {
    if (this.#request) {
      return this.#fetch(this.#request.url, {
        limit: this.#times.firstByte,
        method: 'POST',
        headers: { Accept: 'text/event-stream', 'Content-Type': 'application/json' },
        body: JSON.stringify(this.#request.body),
      });
    }
    const resume = this.#cursor === START ? {} : { 'Last-Event-ID': this.#cursor };
    return this.#fetch(this.#url, {
      limit: this.#times.firstByte,
      headers: { Accept: 'text/event-stream', ...resume },
    });
  }

  async #stream() {
    this.#state({ name: 'connecting', attempt: this.#pauses.failures });
    const connection = await this.#open();
    const { response } = connection;
    if (response.status === 204) return { end: 'nothing-left' };
    if (!response.ok) return this.#refusal(connection);
    if (!/^text\/event-stream/i.test(response.headers.get('Content-Type') ?? '')) {
      return this.#acknowledgeJSON(await json(connection, this.#times.body));
    }
    return this.#read(connection);
  }

  // A server or proxy that does not stream has accepted the message all the same.
  #acknowledgeJSON(body) {
    const event = this.#request && openEvent(body, this.#request.body);
    if (!event) return { why: 'not a stream' };
    this.#dispatch(event);
    return { wait: 0 };
  }

  async #read(connection) {
    const receive = ({ data, id }) => this.#receive(JSON.parse(data), id);
    const outcome = (await readEvents(connection, this.#times, receive)) ?? { why: 'ended without done' };
    if (!outcome.auth) return outcome;
    return expired(connection.used, this.#options.token, { problem: { detail: outcome.auth } });
  }

  // Apply an event. Returns an outcome when the connection is of no more use.
  #receive(event, id) {
    if (event.type === 'auth') return { auth: event.detail };
    if (id !== null && id !== undefined && id !== '') {
      const order = compare(this.#cursor, id);
      if (order === 'repeat') return null;
      if (order === 'hole') return { why: 'hole' };
      this.#cursor = id;
      this.#progress();
      event.id = id;
    }
    this.#state({ name: this.#pollingSince === null ? 'live' : 'polling' });
    this.#dispatch(event);
    return event.type === 'done' ? { end: 'done' } : null;
  }

  #dispatch(event) {
    if (event.type === 'open' && this.#request) {
      this.#url = `${this.#request.url}/${event.generation_id}/stream`;
      this.#request = null;
    }
    this.#emit(event);
  }

  #progress() {
    this.#failures = 0;
    this.#pauses.progress();
  }

  get #resource() {
    return this.#url.replace(/\/stream(?=$|\?)/, '');
  }

  async #poll() {
    if (performance.now() - this.#pollingSince > this.#times.pollingPeriod) {
      this.#pollingSince = null;
      this.#failures = FAILURES_BEFORE_POLLING - 1; // one more failure and it is polling again
      return { wait: 0 };
    }
    const url = new URL(this.#resource, globalThis.location?.href);
    url.searchParams.set('after', this.#cursor);
    url.searchParams.set('wait', String(this.#times.pollWait));
    const limit = this.#times.pollWait * 1000 + this.#times.firstByte;
    const connection = await this.#fetch(url, { limit, headers: { Accept: 'application/json' } });
    if (!connection.response.ok) return this.#refusal(connection);
    const generation = await json(connection, this.#times.body);
    this.#state({ name: 'polling' });
    this.#pauses.progress();
    for (const { id, ...event } of generation.events ?? []) {
      const outcome = this.#receive(event, id);
      if (outcome) return outcome;
    }
    if (TERMINAL.has(generation.status) && !generation.events?.length) return { end: 'nothing-left' };
    return { wait: this.#times.pollPause };
  }

  // Check that the text is the text that the server keeps.
  async #check({ end }) {
    const expected = this.transcript.done?.sha256;
    if (end === 'done') {
      if (!this.#whole || !expected) return { end: 'done' };
      const actual = await sha256(this.transcript.text);
      if (actual === null || actual === expected) return { end: 'done' };
    }
    const connection = await this.#fetch(this.#resource, {
      limit: this.#times.firstByte,
      headers: { Accept: 'application/json' },
    });
    if (!connection.response.ok) return this.#refusal(connection);
    this.#emit({ type: 'final', generation: await json(connection, this.#times.body) });
    return { end: 'done' };
  }

  async #pause(outcome) {
    const { status, problem, why } = outcome;
    const before = this.#pauses.failures;
    const delay = this.#pauses.delay(outcome, this.#times);
    this.#failures += this.#pauses.failures - before;
    const mayPoll = this.#pollingSince === null && !this.#request;
    // A user who has the largest number of streams gets the events by polling.
    const crowded = status === 429;
    if (mayPoll && (crowded || this.#failures >= FAILURES_BEFORE_POLLING)) this.#pollingSince = performance.now();
    if (delay > this.#times.pollPause) {
      const offline = globalThis.navigator?.onLine === false;
      const reason = status ? { status, problem } : { why: String(why ?? '') };
      this.#state({
        name: offline ? 'offline' : 'waiting',
        retryAt: Date.now() + delay,
        attempt: this.#pauses.failures,
        ...reason,
      });
    }
    await this.#pauses.sleep(delay, this.#stop.signal);
  }
}
