/** Repeats a request while its view is shown: never beside itself, not while the tab is hidden, slower on errors. */

const LONGEST = 60_000; // milliseconds between two attempts
const RETRY = 5000; // milliseconds, of a request that is sent once
const OLD = 3; // periods without a reply, after which what is shown is old

export class Poller {
  #every;
  #load;
  #listeners = new Set();
  #timer = null;
  #running = null;
  #failures = 0;
  #due = 0;
  #stopped = true;
  #again = false;

  /**
   * `load(signal)`: the request; it shows its reply itself. `every`: milliseconds from the beginning of one to the
   * beginning of the next, or null for one request that is repeated by `refresh` alone. `onChange(poller)` is called after each reply and each failure.
   */
  constructor({ load, every, onChange = null }) {
    this.#load = load;
    this.#every = every;
    if (onChange) this.#listeners.add(onChange);
    /** The time of the last reply, in milliseconds, or null. */
    this.updatedAt = null;
    /** The problem of the last attempt, or null. */
    this.problem = null;
  }

  start() {
    if (!this.#stopped) return;
    this.#stopped = false;
    document.addEventListener('visibilitychange', this.#onVisible);
    this.#run();
  }

  /** Call `listener(poller)` after each reply and each failure, too. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    document.removeEventListener('visibilitychange', this.#onVisible);
    this.#running?.abort();
  }

  /** Send the request at once; one that runs is followed by another, because its reply may be from before. */
  refresh() {
    if (this.#stopped) return;
    clearTimeout(this.#timer);
    if (this.#running) this.#again = true;
    else this.#run();
  }

  /** Send the request at once, for other data: the reply to one that runs is not awaited. */
  restart() {
    this.#running?.abort();
    this.#running = null;
    if (this.#stopped) return this.start();
    clearTimeout(this.#timer);
    return this.#run();
  }

  /** Change the time between two requests. */
  set every(milliseconds) {
    if (this.#every === milliseconds) return;
    this.#every = milliseconds;
    if (!this.#running && !this.#stopped) this.#wait(0);
  }

  get every() {
    return this.#every;
  }

  /** Whether the data are older than they should be. */
  get isOld() {
    if (document.hidden) return false;
    if (this.problem || !this.#every) return this.problem !== null;
    return this.updatedAt !== null && Date.now() - this.updatedAt > OLD * this.#every;
  }

  #onVisible = () => {
    if (document.hidden) clearTimeout(this.#timer);
    else if (!this.#running && (this.#every || this.problem)) this.#wait(0);
  };

  async #run() {
    const begun = Date.now();
    const control = new AbortController();
    this.#running = control;
    try {
      await this.#load(control.signal);
      this.#failures = 0;
      this.problem = null;
      this.updatedAt = Date.now();
    } catch (problem) {
      if (control.signal.aborted) return;
      this.#failures += 1;
      this.problem = problem;
    } finally {
      if (this.#running === control) this.#running = null;
    }
    if (this.#stopped || control.signal.aborted) return;
    for (const listener of this.#listeners) listener(this);
    if (this.problem?.status === 401) this.stop();
    else this.#goOn(begun);
  }

  #goOn(begun) {
    const again = this.#again;
    this.#again = false;
    if (again) return this.#wait(0);
    if (!this.#every && !this.problem) return undefined;
    this.#due = begun + this.#pause();
    return this.#wait();
  }

  // The pause doubles with each failure. Chance keeps the tabs of many operators apart.
  #pause() {
    const every = this.#every ?? RETRY;
    if (!this.#failures) return every;
    const pause = Math.min(every * 2 ** this.#failures, Math.max(LONGEST, every));
    return pause * (0.75 + Math.random() / 2);
  }

  #wait(milliseconds = Math.max(0, this.#due - Date.now())) {
    clearTimeout(this.#timer);
    if (!document.hidden) this.#timer = setTimeout(() => this.#run(), milliseconds);
  }
}
