/**
 * One connection for each answer and browser: the tabs that show an answer share a reader.
 *
 * A browser opens at most six connections to a host over HTTP/1.1, so tabs with a stream each would soon wait for one
 * another. The leading tab reads and posts the events to the other tabs (tab_leader.js). A listening tab polls once for
 * the events it has missed. When the leader goes away, the next tab reads on from its own cursor. Without locks and
 * channels (plain HTTP) each tab reads for itself.
 */

import { json, open } from './reconnecting_stream.js';
import { begin, compare, follow, Transcript } from './stream.js';
import { canShare, TabLeader } from './tab_leader.js';

const CATCH_UP = 5_000; // milliseconds for a poll; after it, a listener reads for itself
const HOLES = 3; // in a row that a poll did not fill; after them, a listener reads for itself

const nameOf = (id) => `unbroken.generation.${id}`;

/** Like `follow` of stream.js, with `generationId` and `url` of its stream; `token` is a function. */
export function followTogether(options) {
  return canShare() ? new SharedReader(options) : follow(options);
}

/** Like `begin` of stream.js; other tabs can listen from the moment the generation has an id. */
export function beginTogether({ onEvent, onState, ...options }) {
  if (!canShare()) return begin({ onEvent, onState, ...options });
  let tabs = null;
  const reader = begin({
    ...options,
    onEvent(event) {
      if (event.type === 'open' && !tabs) {
        tabs = new TabLeader(nameOf(event.generation_id));
        tabs.watch();
        tabs.lead(() => reader.finished, { ifAvailable: true });
      }
      tabs?.post({ event });
      onEvent?.(event);
    },
    onState(state) {
      tabs?.post({ state });
      onState?.(state);
    },
  });
  reader.finished.then((end) => leave(tabs, end));
  return reader;
}

// A leader that was stopped posts no end: the next tab gets the lock and reads on.
function leave(tabs, { reason, status, problem }) {
  if (reason !== 'stopped') tabs?.post({ end: { reason, status, problem } });
  tabs?.close();
}

class SharedReader {
  finished;
  transcript = new Transcript();

  #options;
  #tabs;
  #cursor = '0-0';
  #stop = new AbortController();
  #resolve;
  #reader = null; // set while this tab reads
  #stash = null; // events that arrive during the poll for missed events
  #holes = 0; // in a row that a poll did not fill

  constructor({ generationId, ...options }) {
    this.#options = options;
    this.finished = new Promise((resolve) => (this.#resolve = resolve));
    this.#tabs = new TabLeader(nameOf(generationId), {
      onMessage: (message) => this.#onMessage(message),
      onSilence: () => this.#readAlone(),
    });
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
    this.#tabs.watch();
    const lead = () => this.#lead();
    if (await this.#tabs.lead(lead, { ifAvailable: true })) return;
    if (this.#stop.signal.aborted) return;
    if (!this.#stash) this.#catchUp();
    await this.#tabs.lead(lead, { signal: this.#stop.signal });
  }

  // A tab that read alone before it got the lock reads on, and posts from here.
  async #lead() {
    if (!this.#reader && !this.#stop.signal.aborted) this.#read();
    if (this.#reader) await this.finished;
  }

  #readAlone() {
    if (!this.#reader && !this.#stop.signal.aborted) this.#read();
  }

  async #read() {
    const { onEvent, onState } = this.#options;
    const post = (message) => this.#tabs.beats && this.#tabs.post(message);
    this.#reader = follow({
      ...this.#options,
      cursor: this.#cursor,
      transcript: this.transcript,
      onEvent(event) {
        post({ event });
        onEvent?.(event);
      },
      onState(state) {
        post({ state });
        onState?.(state);
      },
    });
    const end = await this.#reader.finished;
    if (this.#tabs.beats) leave(this.#tabs, end);
    this.#end(end);
  }

  #onMessage({ event, state, end }) {
    if (this.#reader || this.#stop.signal.aborted) return;
    if (state) this.#options.onState?.(state);
    if (event) this.#apply(event);
    // The end may lie behind a hole of this tab, which then reads the rest itself.
    if (end && (end.reason !== 'done' || this.transcript.status)) this.#end(end);
    else if (end) this.#readAlone();
  }

  #apply(event) {
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

  // Poll once for the events before this tab listened.
  async #catchUp(stash = []) {
    this.#stash = stash;
    let missed = null;
    try {
      const { token } = this.#options;
      const url = `${this.#options.url.replace(/\/stream$/, '')}?after=${this.#cursor}`;
      const headers = { Accept: 'application/json' };
      // The leader's beats do not watch this request, so it has a limit of its own.
      const connection = await open(url, { token, stop: this.#stop.signal, limit: CATCH_UP, headers });
      if (connection.response.ok) missed = (await json(connection, CATCH_UP)).events;
      else connection.abort();
    } catch {
      // This tab reads alone below; its reader deals with the problem.
    }
    if (this.#reader || this.#stop.signal.aborted) return;
    const waiting = this.#stash;
    this.#stash = null;
    if (!missed) {
      this.#readAlone();
      return;
    }
    for (const event of [...missed, ...waiting]) this.#apply(event);
    if (this.transcript.done) this.#end({ reason: 'done' });
  }

  #end({ reason, status, problem, token }) {
    this.#stop.abort();
    this.#tabs.close();
    this.#options.onState?.(reason === 'done' ? { name: 'finished' } : { name: 'stopped', reason, status, problem });
    this.#resolve({ reason, status, problem, token, transcript: this.transcript, cursor: this.cursor });
  }
}
