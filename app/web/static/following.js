/** The answers of a chat that are being read: their readers, and how an answer is stopped. */

import * as api from './api.js';
import { explainRefusal } from './explanations.js';
import { expire, proof } from './session.js';
import { t } from './texts.js';

const CANCEL_GRACE = 2500; // milliseconds in which the stream may report a cancel before its reply is shown

export class Following {
  #readers = new Map(); // Answer → its reader, as `follow` of stream.js returns one
  #unwanted = new Set(); // answers to be stopped as soon as their id is known
  #handlers;

  /**
   * `connection()`: the SharedConnection; `isAlone()`: it does not carry these answers. `onEvent(answer, event)` and
   * `onState(answer, state)`: from the readers. `onChange()`: a reader has begun or ended. `onProblem(why)`: an answer
   * cannot be read or stopped; a text or an explanation.
   */
  constructor(handlers) {
    this.#handlers = handlers;
  }

  /** Whether an answer is being read. */
  get busy() {
    return this.#readers.size > 0;
  }

  has(answer) {
    return this.#readers.has(answer);
  }

  /** Read an answer of the server, unless it is being read. */
  follow(answer) {
    if (this.#readers.has(answer)) return;
    const reader = this.#handlers.connection().follow(answer.generationId, {
      alone: this.#handlers.isAlone(),
      onState: (state) => this.#handlers.onState(answer, state),
      onEvent: (event) => this.#handlers.onEvent(answer, event),
    });
    this.read(answer, reader);
  }

  /** Wait for the end of a reader. Resolves to its `finished`. */
  async read(answer, reader) {
    const used = proof();
    this.#readers.set(answer, reader);
    this.#handlers.onChange();
    const end = await reader.finished;
    this.#readers.delete(answer);
    this.#unwanted.delete(answer);
    this.#handlers.onChange();
    if (end.reason === 'signed-out') expire(end.token ?? used);
    else if (end.reason === 'refused' && answer.generationId)
      this.#handlers.onProblem(explainRefusal(end.status, end.problem));
    return end;
  }

  /** The server has accepted an answer, so a stop that was requested before can be sent. */
  acknowledged(answer) {
    if (this.#unwanted.delete(answer)) this.#cancel(answer);
  }

  /** Cancel an answer. One without an id is cancelled when it gets one; a second request stops trying. */
  cancel(answer) {
    if (answer.generationId) this.#cancel(answer);
    else if (this.#unwanted.has(answer)) this.stop(answer);
    else this.#unwanted.add(answer);
    answer.wait(t('answer.stopping'));
  }

  /** Stop reading an answer. The answer itself goes on. */
  stop(answer) {
    this.#readers.get(answer)?.stop();
  }

  /** Stop reading all answers that the server has accepted; the others keep their reader until it has. */
  leave() {
    for (const [answer, reader] of this.#readers) if (answer.generationId) reader.stop();
  }

  retryNow() {
    for (const reader of this.#readers.values()) reader.retryNow();
  }

  async #cancel(answer) {
    try {
      const generation = await api.cancel(answer.generationId);
      // Status 202: a worker will end the answer, so the reader goes on until then.
      if (!generation.finished_at) return;
      // An open stream reports the cancel in a moment. A broken one may take long.
      setTimeout(() => {
        if (!answer.live) return;
        this.stop(answer);
        this.#handlers.onEvent(answer, { type: 'final', generation });
      }, CANCEL_GRACE);
    } catch (problem) {
      answer.wait('');
      this.#handlers.onProblem(t('answer.not_stopped', { why: problem.message }));
    }
  }
}
