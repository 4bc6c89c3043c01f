/**
 * The start of an answer whose events come over the shared connection: the POST is repeated with its key until the server
 * has accepted or refused it, and the answer is read like any other.
 */

import { openEvent } from './follower.js';
import { randomId } from './random_and_hash.js';
import { json, open, Pauses, refusal, TIMES } from './reconnecting_stream.js';
import { Transcript } from './transcript.js';

/** Like `begin` of stream.js; `connection` is the SharedConnection. `alone`: the feed does not carry this answer. */
export function startAnswer(connection, options) {
  return new AnswerStart(connection, options);
}

class AnswerStart {
  finished;

  #connection;
  #options;
  #body;
  #alone;
  #stop = new AbortController();
  #pauses = new Pauses();
  #reader = null;

  constructor(connection, { body, alone = false, ...options }) {
    this.#connection = connection;
    this.#options = options;
    this.#alone = alone;
    this.#body = { client_msg_id: randomId(), ...body };
    this.finished = this.#run();
  }

  get transcript() {
    return this.#reader?.transcript ?? new Transcript();
  }

  get cursor() {
    return this.#reader?.cursor ?? '0-0';
  }

  stop() {
    this.#stop.abort();
    this.#reader?.stop();
  }

  retryNow() {
    this.#pauses.wake();
    this.#reader?.retryNow();
  }

  async #run() {
    const { wake } = this.#pauses;
    globalThis.addEventListener?.('online', wake);
    const outcome = await this.#accepted();
    globalThis.removeEventListener?.('online', wake);
    if (outcome.event) {
      const { onEvent, onState } = this.#options;
      onEvent?.(outcome.event);
      const options = { alone: this.#alone, onEvent, onState };
      this.#reader = this.#connection.follow(outcome.event.generation_id, options);
      if (this.#isStopped) this.#reader.stop();
      return this.#reader.finished;
    }
    const { end: reason, status, problem, used } = outcome;
    this.#options.onState?.({ name: 'stopped', reason, status, problem });
    return { reason, status, problem, token: used, transcript: this.transcript, cursor: this.cursor };
  }

  get #isStopped() {
    return this.#stop.signal.aborted;
  }

  async #accepted() {
    for (;;) {
      if (this.#isStopped) return { end: 'stopped' };
      this.#options.onState?.({ name: 'connecting', attempt: this.#pauses.failures });
      const outcome = await this.#post().catch((why) => ({ why: String(why) }));
      if (outcome.event || outcome.end) return outcome;
      await this.#pause(outcome);
    }
  }

  async #post() {
    const { url, token } = this.#connection;
    const connection = await open(`${url}/generations`, {
      token,
      stop: this.#stop.signal,
      limit: TIMES.firstByte,
      method: 'POST',
      headers: { Accept: 'application/json', 'Content-Type': 'application/json' },
      body: JSON.stringify(this.#body),
    });
    if (!connection.response.ok) {
      const outcome = await refusal(connection, token);
      return (outcome.wait ?? 0) > TIMES.longestWait ? { ...outcome, end: 'refused' } : outcome;
    }
    const event = openEvent(await json(connection), this.#body);
    return event ? { event } : { why: 'no generation in the reply' };
  }

  async #pause(outcome) {
    const delay = this.#pauses.delay(outcome);
    const name = globalThis.navigator?.onLine === false ? 'offline' : 'waiting';
    const { status, problem } = outcome;
    const state = { name, retryAt: Date.now() + delay, attempt: this.#pauses.failures, status, problem };
    if (delay > 0) this.#options.onState?.(state);
    await this.#pauses.sleep(delay, this.#stop.signal);
  }
}
