/**
 * One connection for each answer and browser: the tabs that show it share a reader.
 *
 * A browser opens six connections to a host and no more (HTTP/1.1), so tabs that each held a stream would soon wait for
 * one another. The tab that holds the generation's lock reads, and passes on what it reads; the others listen, fetch
 * what they missed by one poll, and wait for the lock: when the reading tab goes away, the next one reads on from its
 * own cursor. A reading tab that falls silent (a browser may freeze it) is not waited for. Where locks or channels are
 * missing (plain HTTP), every tab reads for itself.
 */

import { begin, compare, follow, Transcript } from './stream.js';

const BEAT = 5_000; // the reading tab says that it is there
const HOLES = 3;
const SILENCE = 20_000; // beyond it, a listener reads for itself

const able = () => Boolean(globalThis.navigator?.locks && globalThis.BroadcastChannel);
const nameOf = (id) => `unbroken.generation.${id}`;

/** Like `follow` of stream.js, with `generationId` and `url` of its stream; `token` is a function. */
export function followTogether(options) {
  return able() ? new SharedReader(options) : follow(options);
}

/** Like `begin` of stream.js; other tabs may listen in from the moment the generation has an id. */
export function beginTogether({ onEvent, onState, ...options }) {
  if (!able()) return begin({ onEvent, onState, ...options });
  let desk = null;
  const reader = begin({
    ...options,
    onEvent(event) {
      if (event.type === 'open' && !desk) {
        desk = new Desk(event.generation_id);
        navigator.locks.request(nameOf(event.generation_id), { ifAvailable: true }, (lock) => lock && reader.finished);
      }
      desk?.pass(event);
      onEvent?.(event);
    },
    onState(state) {
      desk?.tell(state);
      onState?.(state);
    },
  });
  reader.finished.then((end) => desk?.close(end));
  return reader;
}

// Where the reading tab speaks.
class Desk {
  #channel;
  #beat;

  constructor(id) {
    this.#channel = new BroadcastChannel(nameOf(id));
    this.#beat = setInterval(() => this.#channel.postMessage({}), BEAT);
  }

  pass(event) {
    this.#channel.postMessage({ event });
  }

  tell(state) {
    this.#channel.postMessage({ state });
  }

  // A tab that merely leaves says nothing: the lock it lets go of says it.
  close({ reason, status, problem }) {
    clearInterval(this.#beat);
    if (reason !== 'stopped') this.#channel.postMessage({ end: { reason, status, problem } });
    this.#channel.close();
  }
}

class SharedReader {
  finished;
  transcript = new Transcript();

  #options;
  #id;
  #channel;
  #cursor = '0-0';
  #stop = new AbortController();
  #resolve;
  #reader = null; // set while this tab reads
  #stash = null; // events that arrive while what was missed is fetched
  #heard = Date.now();
  #holes = 0; // in a row that a poll did not fill

  constructor({ generationId, ...options }) {
    this.#id = generationId;
    this.#options = options;
    this.finished = new Promise((resolve) => (this.#resolve = resolve));
    this.#channel = new BroadcastChannel(nameOf(generationId));
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#run();
  }

  get cursor() {
    return this.#reader?.cursor ?? this.#cursor;
  }

  stop() {
    if (this.#reader) this.#reader.stop();
    else this.#end({ reason: 'stopped' });
  }

  retryNow() {
    this.#reader?.retryNow();
  }

  async #run() {
    const watch = setInterval(() => Date.now() - this.#heard > SILENCE && this.#readAlone(), BEAT);
    this.finished.then(() => clearInterval(watch));
    const first = await this.#lock({ ifAvailable: true });
    if (first) return;
    if (!this.#stash) this.#catchUp();
    await this.#lock({ signal: this.#stop.signal });
  }

  // Read while holding the lock. Returns false when another tab holds it.
  #lock(how) {
    const lead = (lock) => (lock && !this.#stop.signal.aborted ? this.#lead().then(() => true) : false);
    return navigator.locks.request(nameOf(this.#id), how, lead).catch(() => false);
  }

  async #lead() {
    const desk = new Desk(this.#id);
    const end = await this.#read({ pass: (event) => desk.pass(event), tell: (state) => desk.tell(state) });
    desk.close(end);
  }

  #readAlone() {
    if (!this.#reader) this.#read({ pass() {}, tell() {} });
  }

  async #read({ pass, tell }) {
    const { onEvent, onState } = this.#options;
    const both = (first, second) => (what) => (first(what), second?.(what));
    this.#reader = follow({
      ...this.#options,
      cursor: this.#cursor,
      transcript: this.transcript,
      onEvent: both(pass, onEvent),
      onState: both(tell, onState),
    });
    const end = await this.#reader.finished;
    this.#end(end);
    return end;
  }

  #hear({ event, state, end }) {
    this.#heard = Date.now();
    if (this.#reader || this.#stop.signal.aborted) return;
    if (state) this.#options.onState?.(state);
    if (event) this.#take(event);
    // What the reading tab ended with may lie behind a hole here; then this tab reads the rest itself.
    if (end && (end.reason !== 'done' || this.transcript.status)) this.#end(end);
    else if (end) this.#readAlone();
  }

  #take(event) {
    if (this.#stash) {
      this.#stash.push(event);
      return;
    }
    if (event.id !== undefined) {
      const order = compare(this.#cursor, event.id);
      if (order === 'repeat') return;
      if (order === 'hole') {
        this.#fill(event);
        return;
      }
      this.#cursor = event.id;
      this.#holes = 0;
    } else if (event.type === 'open') return;
    this.transcript.add(event);
    this.#options.onEvent?.(event);
  }

  #fill(event) {
    this.#holes += 1;
    if (this.#holes > HOLES) this.#readAlone();
    else this.#catchUp([event]);
  }

  // One poll for what was said before this tab listened.
  async #catchUp(stash = []) {
    this.#stash = stash;
    let missed = null;
    try {
      const url = `${this.#options.url.replace(/\/stream$/, '')}?after=${this.#cursor}`;
      const headers = { Accept: 'application/json', Authorization: `Bearer ${this.#options.token()}` };
      const response = await fetch(url, { headers, cache: 'no-store', credentials: 'omit', signal: this.#stop.signal });
      if (response.ok) missed = (await response.json()).events;
    } catch {
      // Below: alone, with everything that follow does about it.
    }
    if (this.#reader || this.#stop.signal.aborted) return;
    const waiting = this.#stash;
    this.#stash = null;
    if (!missed) {
      this.#readAlone();
      return;
    }
    for (const event of [...missed, ...waiting]) this.#take(event);
    if (this.transcript.done) this.#end({ reason: 'done' });
  }

  #end({ reason, status, problem }) {
    this.#stop.abort();
    this.#channel.close();
    this.#options.onState?.(reason === 'done' ? { name: 'finished' } : { name: 'stopped', reason, status, problem });
    this.#resolve({ reason, status, problem, transcript: this.transcript, cursor: this.cursor });
  }
}
