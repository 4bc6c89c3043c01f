/** The numbered events of a feed in one tab: each is taken once, and a missing one is noticed. */

const RECENT = 500; // events that are kept for the next call of `begin`

export class NumberedEvents {
  #newest = null; // the number of the newest event taken; null until `begin`
  #recent = []; // the newest events: [number, event]

  /** The number of the newest event; null until `begin`. */
  get newest() {
    return this.#newest;
  }

  /**
   * Begin behind event `number`, or note that everything up to it was loaded again. Returns the kept events behind it:
   * data that was requested before they came may lack them.
   */
  begin(number) {
    const later = this.#recent.filter(([id]) => id > number);
    this.#newest = Math.max(this.#newest ?? number, ...later.map(([id]) => id));
    return later.map(([, event]) => event);
  }

  /** Forget all numbers, until `begin`: the server counts from a lower one. */
  forget() {
    this.#newest = null;
    this.#recent = [];
  }

  /** Take event `number`. Returns {isNew, follows}: `follows` is false when events before it are missing. */
  take(number, event) {
    if (this.#recent.push([number, event]) > RECENT) this.#recent.shift();
    const before = this.#newest;
    const isNew = before !== null && number > before;
    if (isNew) this.#newest = number;
    return { isNew, follows: !isNew || number === before + 1 };
  }
}
