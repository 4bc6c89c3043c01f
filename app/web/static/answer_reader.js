/**
 * The reader of one answer in one tab: it receives the events of the shared connection, and polls for those it lacks.
 *
 * It guarantees what the reader of stream.js does: each event arrives exactly once and in order. It polls
 * `GET /generations/{id}?after=…` when it begins, after a hole, after a change of the leading tab, after a long
 * silence, and every few seconds while the shared connection is not open.
 */

import { sha256 } from './random_and_hash.js';
import { json, open, Pauses, refusal, TIMES as SHARED_TIMES } from './reconnecting_stream.js';
import { compare, isBehind, Transcript } from './transcript.js';

const TIMES = Object.freeze({
  poll: 10_000, // milliseconds until the reply to a poll begins, and for each silence in it
  silence: 20_000, // without an event, before a poll makes sure that nothing is missing
  queued: 3_000, // between two polls for the position in the queue
  apart: 2_000, // between two polls while the shared connection is not open
  hidden: 10_000, // the same in a tab that is not seen
  hole: 300, // between two polls that did not fill a hole
  end: 1_500, // after the feed has announced the end of the answer, until its last event is polled for
});
const FAILURES_BEFORE_POLLING = 3; // of the shared connection, before the state is `polling`
const TERMINAL = new Set(['completed', 'error', 'cancelled']);
const START = '0-0';

export class AnswerReader {
  /** Resolves at the end, never rejects; as in stream.js. */
  finished;
  transcript;
  generationId;

  #source;
  #options;
  #cursor;
  #isWhole;
  #stop = new AbortController();
  #pauses = new Pauses();
  #stash = null; // pieces that arrive during a poll
  #isComplete = false; // the last event was applied
  #isWanted = false; // another poll is wanted
  #isHeld = false; // a poll has failed, and its pause goes on whatever the shared connection brings
  #holes = 0; // in a row that a poll did not fill
  #checkedAt = performance.now(); // time of the last event or poll
  #position = null; // in the queue, as it was shown
  #isQueued = false;
  #isPolled = false; // the last poll had a reply
  #reported = null;

  /**
   * `source`: the shared connection, with `url`, `token`, `live`, `state`, `detach` and `retryNow`. `options`: those of
   * `follow` in stream.js.
   */
  constructor(source, { generationId, cursor = START, transcript, ...options }) {
    this.#source = source;
    this.#options = options;
    this.#cursor = cursor;
    this.generationId = generationId;
    this.transcript = transcript ?? new Transcript();
    this.#isWhole = cursor === START || transcript !== undefined;
  }

  /** Begin to read. */
  start() {
    this.finished = this.#run();
    return this;
  }

  get cursor() {
    return this.#cursor;
  }

  /** Stop reading. The generation itself goes on: this is not a cancel. */
  stop() {
    this.#stop.abort();
  }

  retryNow() {
    this.#source.retryNow();
    this.#pauses.wake();
    this.check();
  }

  /** Apply a piece of the shared connection: the events behind the cursor `after`. */
  take(piece) {
    if (this.#stash) this.#stash.push(piece);
    else if (isBehind(this.#cursor, piece.after)) this.check();
    else for (const event of piece.events) this.#take(event);
  }

  /** Poll soon: something may be missing. */
  check() {
    this.#isWanted = true;
    this.#wake();
  }

  /** The answer has ended; its last event is on its way, unless it was lost. */
  expectEnd() {
    setTimeout(() => this.check(), TIMES.end);
  }

  /** The state of the shared connection has changed. */
  sourceChanged() {
    this.#report();
    this.#wake();
  }

  #wake() {
    if (!this.#isHeld) this.#pauses.wake();
  }

  async #run() {
    globalThis.addEventListener?.('online', this.#pauses.wake, { signal: this.#stop.signal });
    this.#report();
    let outcome = {};
    while (!this.#isOver(outcome)) {
      outcome = await this.#attempt(() => this.#poll());
      if (!this.#isOver(outcome)) await this.#rest(outcome);
    }
    // A text that differs from the server's is replaced as a whole.
    while (this.#isComplete && !this.#isStopped && !(await this.#isVerified())) {
      outcome = await this.#attempt(() => this.#replace());
      if (outcome.end) break;
      await this.#hold(outcome);
    }
    return this.#end(outcome);
  }

  get #isStopped() {
    return this.#stop.signal.aborted;
  }

  #isOver({ end }) {
    return this.#isComplete || this.#isStopped || Boolean(end);
  }

  async #attempt(request) {
    try {
      return await request();
    } catch (why) {
      this.#isPolled = false;
      return { why };
    } finally {
      const stash = this.#stash ?? [];
      this.#stash = null;
      for (const piece of stash) this.take(piece);
    }
  }

  #take(event) {
    if (this.#isComplete || this.#isStopped) return;
    if (event.id !== undefined) {
      const order = compare(this.#cursor, event.id);
      if (order === 'repeat') return;
      if (order === 'hole') {
        this.check();
        return;
      }
      this.#cursor = event.id;
      this.#holes = 0;
      this.#checkedAt = performance.now();
    }
    this.#emit(event);
  }

  #emit(event) {
    this.transcript.add(event);
    if (event.type === 'done' || event.type === 'final') {
      this.#isComplete = true;
      this.#pauses.wake();
    }
    this.#options.onEvent?.(event);
  }

  // --- polling -------------------------------------------------------------------------------------------------

  async #poll() {
    this.#stash = [];
    this.#isWanted = false;
    const reply = await this.#request(`?after=${this.#cursor}`);
    if (reply.outcome) return reply.outcome;
    const { events = [], ...generation } = reply.generation;
    for (const event of events) this.#take(event);
    if (this.#isComplete) return {};
    if (TERMINAL.has(generation.status) && !events.length) this.#emit({ type: 'final', generation });
    else this.#showQueue(generation);
    this.#report();
    return { wait: 0 };
  }

  async #replace() {
    const reply = await this.#request('');
    if (reply.outcome) return reply.outcome;
    this.#emit({ type: 'final', generation: reply.generation });
    return { end: 'done' };
  }

  // The generation, or the outcome of a refusal.
  async #request(query) {
    const { url, token } = this.#source;
    const connection = await open(`${url}/generations/${encodeURIComponent(this.generationId)}${query}`, {
      token,
      stop: this.#stop.signal,
      limit: TIMES.poll,
      headers: { Accept: 'application/json' },
    });
    this.#isPolled = connection.response.ok;
    if (!this.#isPolled) {
      const { wait, ...outcome } = await refusal(connection, token);
      return {
        outcome: (wait ?? 0) > SHARED_TIMES.longestWait ? { ...outcome, end: 'refused' } : { ...outcome, wait },
      };
    }
    const generation = await json(connection, TIMES.poll);
    this.#pauses.progress();
    this.#checkedAt = performance.now();
    return { generation };
  }

  #showQueue({ status, queue_position: position }) {
    this.#isQueued = status === 'queued' && this.#cursor === START;
    if (!this.#isQueued || position === this.#position || !Number.isInteger(position)) return;
    this.#position = position;
    this.#emit({ type: 'queued', position });
  }

  // Wait until the next poll makes sense.
  async #rest(outcome) {
    const { signal } = this.#stop;
    if (outcome.wait !== 0) {
      await this.#hold(outcome);
      return;
    }
    if (this.#isWanted) {
      this.#holes += 1;
      if (this.#holes > 1) await this.#pauses.sleep(TIMES.hole, signal);
      return;
    }
    let wasLive;
    do {
      wasLive = this.#source.live;
      await this.#pauses.sleep(this.#untilPoll(), signal);
    } while (!this.#isWanted && !this.#isOver({}) && this.#source.live && !(wasLive && this.#untilPoll() < 1));
  }

  // The pause after a failed poll. Only the network and the user end it.
  async #hold(outcome) {
    this.#isHeld = true;
    await this.#pauses.sleep(this.#pauses.delay(outcome), this.#stop.signal);
    this.#isHeld = false;
  }

  #untilPoll() {
    if (!this.#source.live) return globalThis.document?.hidden ? TIMES.hidden : TIMES.apart;
    const longest = this.#isQueued ? TIMES.queued : TIMES.silence;
    return longest - (performance.now() - this.#checkedAt);
  }

  async #isVerified() {
    const expected = this.transcript.done?.sha256;
    if (!this.#isWhole || !expected) return true;
    const actual = await sha256(this.transcript.text);
    return actual === null || actual === expected;
  }

  // --- states --------------------------------------------------------------------------------------------------

  #report() {
    const { live, state } = this.#source;
    const isRefused = state.name === 'stopped' || (state.status >= 400 && state.status < 500);
    const fails = isRefused || state.attempt >= FAILURES_BEFORE_POLLING;
    if (live) this.#show({ name: 'live' });
    else if (fails && this.#isPolled) this.#show({ name: 'polling' });
    else if (state.name !== 'stopped') this.#show(state);
  }

  // Reported once for each change.
  #show(state) {
    const steady = state.name === 'live' || state.name === 'polling' || state.name === 'connecting';
    if (this.#isStopped || (steady && state.name === this.#reported)) return;
    this.#reported = state.name;
    this.#options.onState?.(state);
  }

  #end({ end, status, problem, used }) {
    const reason = this.#isComplete ? 'done' : this.#isStopped ? 'stopped' : end;
    this.#source.detach(this);
    this.#options.onState?.(reason === 'done' ? { name: 'finished' } : { name: 'stopped', reason, status, problem });
    this.#stop.abort();
    return { reason, status, problem, token: used, transcript: this.transcript, cursor: this.#cursor };
  }
}
