/** Asks the server why an answer has nothing new to show, while it is silent and the page is visible. */

const QUIET = 3_000; // milliseconds without an event, after which the server is asked
const AGAIN = 5_000; // milliseconds between two questions

export class SilenceWatch {
  #ask;
  #isNeeded;
  #onReason;
  #heardAt = 0;
  #watching = false;

  /**
   * `ask()`: a promise of the generation. `isNeeded()`: whether the answer is shown and being written; a watch that is
   * not needed ends. `onReason(waiting)`: the `waiting` of the generation, which may be null.
   */
  constructor({ ask, isNeeded, onReason }) {
    this.#ask = ask;
    this.#isNeeded = isNeeded;
    this.#onReason = onReason;
  }

  /** An event has arrived, or the answer has begun to be read: the silence is counted anew. */
  heard() {
    this.#heardAt = performance.now();
    if (this.#watching) return;
    this.#watching = true;
    this.#later(QUIET);
  }

  #later(pause) {
    setTimeout(() => this.#look(), pause);
  }

  async #look() {
    if (!this.#isNeeded()) {
      this.#watching = false;
      return;
    }
    const left = QUIET - (performance.now() - this.#heardAt);
    if (left > 0) {
      this.#later(left);
      return;
    }
    if (!document.hidden) await this.#askOnce();
    this.#later(AGAIN);
  }

  async #askOnce() {
    const heardAt = this.#heardAt;
    // Without a reply nothing is shown: the sign of the connection stands for that.
    const found = await this.#ask().catch(() => null);
    // An event that has arrived meanwhile is newer than the reply.
    if (found && !found.finished_at && heardAt === this.#heardAt && this.#isNeeded()) this.#onReason(found.waiting);
  }
}
