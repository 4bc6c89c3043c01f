/** A bound on the transfers that go on at the same time. */

export class Turns {
  #free;
  #waiting = [];

  /** `most`: tasks that run at the same time. */
  constructor(most) {
    this.#free = most;
  }

  /** Run `task` in its turn. A task whose `signal` aborts before its turn does not run. */
  async run(task, signal = null) {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise((resolve) => this.#waiting.push(resolve));
    try {
      signal?.throwIfAborted();
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}
