/**
 * Follow a generation from any web page: one ES module, no dependencies.
 *
 *     import { follow, begin } from '/static/stream.js';
 *
 *     // read an answer, from the start or from any cursor
 *     const reader = follow({
 *       url: '/api/v1/generations/0197…/stream',
 *       token: () => myToken,                // a string, or a function that returns one
 *       cursor: '0-0',                       // the last event you have; '0-0' is the start
 *       onEvent: (event) => { … },           // {type: 'token', content: 'Hel', id: '1-1'}
 *       onState: (state) => { … },           // {name: 'live'}, see STATES
 *       transcript,                          // optional: what the events up to the cursor said
 *       signal: controller.signal,           // optional
 *       times: { maxDelay: 10_000 },         // optional, see TIMES; milliseconds unless said otherwise
 *     });
 *     const end = await reader.finished;     // {reason: 'done' | 'refused' | 'signed-out' | 'stopped', …}
 *
 *     // ask for an answer; a lost connection repeats the request with the same key, so it is asked once
 *     const writer = begin({ url: '/api/v1/generations', body: { message: 'Hello' }, token, onEvent, onState });
 *
 * What it takes care of:
 * - Every event arrives exactly once and in order. A repeat is dropped; behind a hole it asks again.
 * - A connection that breaks, ends without `done`, or is silent for three heartbeats is opened again from the
 *   cursor, after a random pause that grows from 0.5 s to at most 30 s and starts over after progress.
 *   `online` ends a pause at once. 429 and 503 are answered as late as Retry-After asks.
 * - When streaming keeps failing it polls `GET /generations/{id}?after=…&wait=25`, and streams again later.
 * - 401, 403, 404 and every other refusal end it: no loop.
 * - At the end the text is checked against the sha256 in `done`. If it differs, or if there was nothing left to
 *   read (204), one last event of type `final` carries the whole generation as the server has it.
 *
 * Event types are those of the stream (open, queued, snapshot, token, reasoning, tool, usage, title, done),
 * plus `final` as said above.
 */

export const STATES = Object.freeze({
  connecting: 'a request is on its way',
  live: 'the stream is open and speaking',
  waiting: 'the next attempt is at `retryAt` (ms since 1970); `status` or `problem` say why',
  offline: 'the browser says there is no network',
  polling: 'streaming failed repeatedly; asking every now and then instead',
  finished: 'everything was received and checked',
  stopped: 'refused (`status`, `problem`), signed out, or stopped by the caller',
});

const TIMES = Object.freeze({
  firstByte: 20_000, // the server speaks at once, so silence here is a proxy that swallows streams
  silence: 45_000, // three heartbeats
  minDelay: 500,
  maxDelay: 30_000,
  longestWait: 120_000, // a Retry-After beyond this is a refusal, not a pause
  pollWait: 25, // seconds
  pollPause: 300,
  pollingPeriod: 60_000,
});
const FAILURES_BEFORE_POLLING = 3;
const TERMINAL = new Set(['completed', 'error', 'cancelled']);
const START = '0-0';

/** Incremental parser of text/event-stream: any split of the text, CR, LF or CRLF, comments, several data lines. */
export class EventParser {
  #onEvent;
  #rest = '';
  #afterCR = false;
  #first = true;
  #data = [];
  #type = '';
  #id = null;

  /** @param {(event: {data: string, event: string, id: string | null}) => void} onEvent */
  constructor(onEvent) {
    this.#onEvent = onEvent;
  }

  /** Take in a piece of decoded text. */
  push(chunk) {
    if (chunk === '') return;
    if (this.#first) {
      this.#first = false;
      if (chunk.startsWith('\uFEFF')) chunk = chunk.slice(1);
    }
    // A CR ends a line at once; the LF of a CRLF may only come with the next piece.
    if (this.#afterCR && chunk.startsWith('\n')) chunk = chunk.slice(1);
    this.#afterCR = chunk.endsWith('\r');
    const lines = chunk.split(/\r\n|\r|\n/);
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return undefined; // a comment: the heartbeat
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (name === 'data') this.#data.push(value);
    else if (name === 'event') this.#type = value;
    else if (name === 'id' && !value.includes('\0')) this.#id = value;
    return undefined;
  }

  #dispatch() {
    const [data, event, id] = [this.#data, this.#type, this.#id];
    this.#data = [];
    this.#type = '';
    this.#id = null;
    if (data.length) this.#onEvent({ data: data.join('\n'), event: event || 'message', id });
  }
}

/** What the events say so far: the same fold as the server's. */
export class Transcript {
  text = '';
  reasoning = '';
  tools = new Map();
  status = null;
  done = null;

  add(event) {
    switch (event.type) {
      case 'snapshot':
        this.text = event.text;
        this.reasoning = event.reasoning ?? '';
        // They belong to the answer that is replaced.
        if (event.reason === 'restart') this.tools = new Map();
        break;
      case 'token':
        this.text += event.content;
        break;
      case 'reasoning':
        this.reasoning += event.content;
        break;
      case 'tool':
        this.tools.set(event.call_id, event);
        break;
      case 'done':
        this.done = event;
        this.status = event.status;
        break;
      case 'final':
        this.text = event.generation.content ?? '';
        this.reasoning = event.generation.reasoning ?? '';
        this.tools = new Map((event.generation.tools ?? []).map((tool) => [tool.call_id, tool]));
        this.status = event.generation.status;
        break;
    }
  }
}

/** Read an existing generation's stream. See the top of this file. */
export function follow(options) {
  return new Follower({ ...options, request: null });
}

/** Start a generation and read its stream. `body` gets a `client_msg_id` when it has none. */
export function begin({ url, body, ...options }) {
  const request = { url, body: { client_msg_id: randomId(), ...body, stream: true } };
  return new Follower({ ...options, url: null, request });
}

/** A version 4 UUID; also where crypto.randomUUID is missing because the page came over plain HTTP. */
export function randomId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Full jitter: anywhere between nothing and the doubled limit, so a crowd does not come back as a crowd. */
export function backoff(attempt, { random = Math.random, minDelay, maxDelay } = TIMES) {
  return random() * Math.min(maxDelay ?? TIMES.maxDelay, (minDelay ?? TIMES.minDelay) * 2 ** attempt);
}

/** Milliseconds that a Retry-After header asks for (seconds or a date), or null. */
export function retryAfter(header, now = Date.now()) {
  if (!header) return null;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}

/** Hex SHA-256 of the text as UTF-8, or null where the browser offers none (plain HTTP). */
export async function sha256(text) {
  if (!globalThis.crypto?.subtle) return null;
  const hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

class Follower {
  /** Resolves at the end, never rejects: {reason, status?, problem?, transcript, cursor}. */
  finished;
  transcript;

  #options;
  #request; // the POST that is still unacknowledged, or null
  #url;
  #cursor;
  #stop = new AbortController();
  #failures = 0;
  #streak = 0; // failures in a row of either kind: what the pause grows with
  #pollingSince = null;
  #wake = null;
  #told = null;
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
    this.#wake?.();
  }

  /** End a pause now: for a "try again" button. */
  retryNow() {
    this.#wake?.();
  }

  async #run() {
    const wake = () => this.#wake?.();
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
    const { end: reason, status, problem } = outcome;
    this.#state(reason === 'done' ? { name: 'finished' } : { name: 'stopped', reason, status, problem });
    return { reason, status, problem, transcript: this.transcript, cursor: this.#cursor };
  }

  // Told once for each change: thousands of tokens are one `live`.
  #state(state) {
    const steady = state.name === 'live' || state.name === 'polling';
    if (steady && state.name === this.#told) return;
    this.#told = state.name;
    this.#options.onState?.(state);
  }

  #emit(event) {
    this.transcript.add(event);
    this.#options.onEvent?.(event);
  }

  async #token() {
    const { token } = this.#options;
    return typeof token === 'function' ? token() : token;
  }

  // One request. `limit` bounds the time until the headers are there; the caller watches the body.
  async #fetch(url, { limit, ...init }) {
    const token = await this.#token();
    const connection = new AbortController();
    const abort = () => connection.abort();
    const timer = setTimeout(abort, limit);
    try {
      const headers = { ...init.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
      const response = await fetch(url, {
        ...init,
        headers,
        signal: AbortSignal.any([this.#stop.signal, connection.signal]),
        cache: 'no-store',
        credentials: 'omit',
      });
      return { response, token, abort };
    } finally {
      clearTimeout(timer);
    }
  }

  // What a response that is not the expected one means.
  async #refusal({ response, token }) {
    const { status } = response;
    const problem = await response.json().catch(() => null);
    if (status === 401)
      return (await this.#token()) === token ? { end: 'signed-out', status, problem } : { why: 'new token' };
    const wait = retryAfter(response.headers.get('Retry-After'));
    const passing = status === 408 || status === 425 || status === 429 || status >= 500;
    if (!passing || (wait ?? 0) > this.#times.longestWait) return { end: 'refused', status, problem };
    return { status, problem, wait };
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
    this.#state({ name: 'connecting', attempt: this.#streak });
    const connection = await this.#open();
    const { response } = connection;
    if (response.status === 204) return { end: 'nothing-left' };
    if (!response.ok) return this.#refusal(connection);
    if (!/^text\/event-stream/i.test(response.headers.get('Content-Type') ?? '')) {
      return this.#acknowledgeJSON(await response.json());
    }
    return this.#read(response, connection.abort);
  }

  // A server (or proxy) that does not stream has still accepted the message.
  #acknowledgeJSON(body) {
    const generation = body?.generation;
    if (!this.#request || !generation?.id) return { why: 'not a stream' };
    this.#dispatch({
      type: 'open',
      generation_id: generation.id,
      conversation_id: generation.conversation_id,
      message_id: generation.message_id,
      user_message_id: body.message?.message_id,
      conversation_created: !this.#request.body.conversation_id,
      status: generation.status,
    });
    return { wait: 0 };
  }

  async #read(response, abort) {
    const decoder = new TextDecoder();
    let outcome = null;
    const parser = new EventParser(({ data, id }) => {
      outcome ??= this.#receive(JSON.parse(data), id);
    });
    const reader = response.body.getReader();
    let watchdog = setTimeout(abort, this.#times.firstByte);
    try {
      for (;;) {
        const { done, value } = await reader.read();
        clearTimeout(watchdog);
        if (done) return { why: 'ended without done' };
        watchdog = setTimeout(abort, this.#times.silence);
        parser.push(decoder.decode(value, { stream: true }));
        if (outcome) return outcome;
      }
    } finally {
      clearTimeout(watchdog);
      if (outcome?.end === 'done') drain(reader, abort);
      else abort();
    }
  }

  // Take in one event; returns an outcome when the connection has no more use.
  #receive(event, id) {
    if (event.type === 'auth') return { end: 'signed-out', status: 401, problem: { detail: event.detail } };
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
    this.#streak = 0;
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
    const url = new URL(this.#resource, location.href);
    url.searchParams.set('after', this.#cursor);
    url.searchParams.set('wait', String(this.#times.pollWait));
    const limit = this.#times.pollWait * 1000 + this.#times.firstByte;
    const connection = await this.#fetch(url, { limit, headers: { Accept: 'application/json' } });
    if (!connection.response.ok) return this.#refusal(connection);
    const generation = await connection.response.json();
    this.#state({ name: 'polling' });
    this.#streak = 0;
    for (const { id, ...event } of generation.events ?? []) {
      const outcome = this.#receive(event, id);
      if (outcome) return outcome;
    }
    if (TERMINAL.has(generation.status) && !generation.events?.length) return { end: 'nothing-left' };
    return { wait: this.#times.pollPause };
  }

  // Prove that what was shown is what the server keeps.
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
    this.#emit({ type: 'final', generation: await connection.response.json() });
    return { end: 'done' };
  }

  async #pause({ wait, status, problem, why }) {
    const failed = wait === undefined || wait === null || status !== undefined;
    if (failed) {
      this.#failures += 1;
      this.#streak += 1;
    }
    const mayPoll = this.#pollingSince === null && !this.#request;
    // Who has as many streams as anybody may have gets the same events by asking.
    const crowded = status === 429;
    if (mayPoll && (crowded || this.#failures >= FAILURES_BEFORE_POLLING)) this.#pollingSince = performance.now();
    const delay = Math.max(wait ?? 0, failed ? backoff(this.#streak - 1, this.#times) : 0);
    if (delay > this.#times.pollPause) {
      const offline = globalThis.navigator?.onLine === false;
      const reason = status ? { status, problem } : { why: String(why ?? '') };
      this.#state({
        name: offline ? 'offline' : 'waiting',
        retryAt: Date.now() + delay,
        attempt: this.#streak,
        ...reason,
      });
    }
    await this.#sleep(delay);
  }

  #sleep(delay) {
    return new Promise((resolve) => {
      const timer = setTimeout(done, delay);
      const wake = () => done();
      function done() {
        clearTimeout(timer);
        resolve();
      }
      this.#wake = wake;
      if (this.#stop.signal.aborted) done();
    }).finally(() => {
      this.#wake = null;
    });
  }
}

/** How `id` stands to the cursor: 'next', 'repeat' or 'hole'; ids of another form are taken as they come. */
export function compare(cursor, id) {
  const [last, next] = [position(cursor), position(id)];
  if (!last || !next) return 'next';
  const [epoch, n] = last;
  const [nextEpoch, nextN] = next;
  if (nextEpoch < epoch || (nextEpoch === epoch && nextN <= n)) return 'repeat';
  const follows = nextEpoch === epoch ? nextN === n + 1 : nextN === 0;
  return follows ? 'next' : 'hole';
}

function position(id) {
  const match = /^(\d+)-(\d+)$/.exec(id);
  return match && [Number(match[1]), Number(match[2])];
}

// Read to the end so that the browser can use the connection again; a server that stays open is cut off.
async function drain(reader, abort) {
  const timer = setTimeout(abort, 2000);
  try {
    while (!(await reader.read()).done);
  } catch {
    // broken after `done`: nothing is missing
  } finally {
    clearTimeout(timer);
  }
}
