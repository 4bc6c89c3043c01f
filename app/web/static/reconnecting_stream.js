/**
 * Reconnecting, for all readers of streams (stream.js, feed.js, answer_reader.js): requests with limits, a watchdog over a
 * stream, the outcome of a refusal, and pauses that end early when the network is back.
 */

export const TIMES = Object.freeze({
  firstByte: 20_000, // milliseconds; the server sends at once, so a longer silence is a proxy that holds streams back
  silence: 45_000, // three heartbeats
  body: 20_000, // a silence in a reply that is no stream
  minDelay: 500,
  maxDelay: 30_000,
  longestWait: 120_000, // for a longer Retry-After an answer's reader ends; a feed waits this long
});
const LARGEST_EVENT = 2 ** 26; // characters; the events of the service are smaller
const LARGEST_REPLY = 2 ** 26; // characters of a reply that is no stream
const LONGEST_TIMER = 2 ** 31 - 1; // a browser's timer overflows beyond it and fires at once

/** A delay in milliseconds that a timer can hold: never negative, never so long that it fires at once. */
export function bounded(delay) {
  return Number.isNaN(delay) ? 0 : Math.min(Math.max(delay, 0), LONGEST_TIMER);
}

/** Incremental parser of text/event-stream: any split of the text, CR, LF or CRLF, comments, several data lines. */
export class EventParser {
  #onEvent;
  #rest = '';
  #afterCR = false;
  #first = true;
  #data = [];
  #size = 0;
  #type = '';
  #id = null;

  /** @param {(event: {data: string, event: string, id: string | null}) => void} onEvent */
  constructor(onEvent) {
    this.#onEvent = onEvent;
  }

  /** Parse the next piece of decoded text. Throws a RangeError for an event that is too large. */
  push(chunk) {
    if (chunk === '') return;
    if (this.#first) {
      this.#first = false;
      if (chunk.startsWith('\uFEFF')) chunk = chunk.slice(1);
    }
    // A CR ends a line; the LF of a CRLF may come with the next piece.
    if (this.#afterCR && chunk.startsWith('\n')) chunk = chunk.slice(1);
    this.#afterCR = chunk.endsWith('\r');
    const lines = chunk.split(/\r\n|\r|\n/);
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line);
    if (this.#size + this.#rest.length > LARGEST_EVENT) throw new RangeError('an event is too large');
  }

  #line(line) {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return undefined; // a comment: the heartbeat
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (name === 'data') {
      this.#data.push(value);
      this.#size += value.length + 1;
    } else if (name === 'event') this.#type = value;
    else if (name === 'id' && !value.includes('\0')) this.#id = value;
    return undefined;
  }

  #dispatch() {
    const [data, event, id] = [this.#data, this.#type, this.#id];
    this.#data = [];
    this.#size = 0;
    this.#type = '';
    this.#id = null;
    if (data.length) this.#onEvent({ data: data.join('\n'), event: event || 'message', id });
  }
}

/** A random delay in milliseconds up to a limit that doubles with each attempt, so clients do not return together. */
export function backoff(attempt, { random = Math.random, minDelay, maxDelay } = TIMES) {
  return random() * Math.min(maxDelay ?? TIMES.maxDelay, (minDelay ?? TIMES.minDelay) * 2 ** attempt);
}

/** Milliseconds that a Retry-After header asks for (RFC 9110: whole seconds or a date), or null. */
export function retryAfter(header, now = Date.now()) {
  const text = header?.trim() ?? '';
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  // Date.parse also reads "5, 5" as a day of May 2001.
  const date = /^[A-Za-z]{3,9}, /.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}

/**
 * A request. `token` is a string, which is sent as a Bearer, or `{cookie}`: then the browser sends the cookie of its
 * session, whose id `cookie` is. It may be a function that returns one of them. `limit` bounds the time in milliseconds until its headers are there, a token function included; the reader
 * of the body watches the body.
 */
export async function open(url, { token, stop, limit, headers, ...init }) {
  const connection = new AbortController();
  const abort = () => connection.abort();
  const timer = setTimeout(abort, bounded(limit));
  const signal = AbortSignal.any([connection.signal, ...(stop ? [stop] : [])]);
  try {
    const used = await currentToken(token, signal);
    const response = await fetch(url, {
      ...init,
      headers: { ...headers, ...(typeof used === 'string' ? { Authorization: `Bearer ${used}` } : {}) },
      signal,
      cache: 'no-store',
      credentials: used?.cookie ? 'same-origin' : 'omit',
    });
    return { response, used, abort };
  } finally {
    clearTimeout(timer);
  }
}

// `token`, or the result of the token function, which may make a request of its own and ends when `signal` aborts.
async function currentToken(token, signal) {
  if (typeof token !== 'function') return token;
  signal.throwIfAborted();
  let fail;
  const aborted = new Promise((_, reject) => {
    fail = () => reject(signal.reason);
    signal.addEventListener('abort', fail, { once: true });
  });
  try {
    return await Promise.race([token(), aborted]);
  } finally {
    signal.removeEventListener('abort', fail);
  }
}

/**
 * The JSON of a response that is no stream. A slow line gets its time: `silence` milliseconds without a byte end it.
 * Throws a RangeError for a reply that is too large.
 */
export async function json({ response, abort }, silence = TIMES.body) {
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let text = '';
  for (;;) {
    const watchdog = setTimeout(abort, bounded(silence));
    const { done, value } = await reader.read().finally(() => clearTimeout(watchdog));
    if (done) return JSON.parse(text + decoder.decode());
    text += decoder.decode(value, { stream: true });
    if (text.length <= LARGEST_REPLY) continue;
    abort();
    throw new RangeError('a reply is too large');
  }
}

/**
 * Read a stream until `onEvent` returns an outcome, the stream ends (null), or it is silent for too long (an error).
 * `onBytes` is called for every piece, heartbeats included.
 */
export async function readEvents({ response, abort }, times, onEvent, onBytes = () => {}) {
  let outcome = null;
  const parser = new EventParser((event) => {
    outcome ??= onEvent(event) ?? null;
  });
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let watchdog = setTimeout(abort, bounded(times.firstByte));
  try {
    for (;;) {
      const { done, value } = await reader.read();
      clearTimeout(watchdog);
      if (done) return null;
      watchdog = setTimeout(abort, bounded(times.silence));
      onBytes();
      parser.push(decoder.decode(value, { stream: true }));
      if (outcome) return outcome;
    }
  } finally {
    clearTimeout(watchdog);
    if (outcome?.end === 'done') drain(reader, abort);
    else abort();
  }
}

// Read to the end so that the browser can use the connection again; a server that stays open is cut off.
async function drain(reader, abort) {
  const timer = setTimeout(abort, 2000);
  try {
    while (!(await reader.read()).done);
  } catch {
    // The stream broke after its last event: nothing is missing.
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The outcome of a response other than the expected one: `{end}`, or a pause `{status, problem, wait}`.
 * A refused token is a pause, not an end, when there is a new token by now: another tab has signed in.
 */
export async function refusal(connection, token, times = TIMES) {
  const { response } = connection;
  const { status } = response;
  const problem = await json(connection, times.body).catch(() => null);
  if (status === 401) return expired(connection.used, token, { status, problem });
  const wait = retryAfter(response.headers.get('Retry-After'));
  const passing = status === 408 || status === 425 || status === 429 || status >= 500;
  return passing ? { status, problem, wait } : { end: 'refused', status, problem };
}

/** The outcome of a refused token `used`: the end, or another attempt when there is a new token by now. */
export async function expired(used, token, details = {}) {
  const current = await currentToken(token, AbortSignal.timeout(TIMES.firstByte));
  const isNew = current && (current.cookie ?? current) !== (used?.cookie ?? used);
  return isNew ? { renewed: true } : { end: 'signed-out', status: 401, used, ...details };
}

/** The pauses of a reader: longer after each failure, and ended by `wake` when the network is back. */
export class Pauses {
  failures = 0; // in a row
  #renewals = 0; // in a row
  #wake = null;

  /** Data has arrived: the next pause is short again. */
  progress() {
    this.failures = 0;
    this.#renewals = 0;
  }

  /** End the current pause. */
  wake = () => this.#wake?.();

  /** The pause after `outcome` in milliseconds. An outcome without a `wait`, or with a status, counts as a failure. */
  delay({ wait = null, status, renewed }, times = TIMES) {
    // The first new token is used at once. After that a server that refuses each new token gets pauses, too.
    if (renewed && this.#renewals++ === 0) return 0;
    const failed = wait === null || status !== undefined;
    if (failed) this.failures += 1;
    return bounded(Math.max(wait ?? 0, failed ? backoff(this.failures - 1, times) : 0));
  }

  async sleep(delay, stop) {
    if (stop.aborted) return;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, bounded(delay));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      stop.addEventListener('abort', this.#wake, { once: true });
    });
    stop.removeEventListener('abort', this.#wake);
    this.#wake = null;
  }
}
