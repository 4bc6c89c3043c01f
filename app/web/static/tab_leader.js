/**
 * One tab of a browser leads: it reads for all tabs that use the same name, and the others listen.
 *
 * The leader is the tab that holds the lock of the name. It posts what it reads to a channel of the same name. When the
 * leading tab goes away, the browser gives the lock to the next tab. A leader that falls silent (a browser may freeze a
 * tab) is not waited for: each listening tab is notified by `onSilence`.
 */

const BEAT = 5_000; // milliseconds between the beats of the leader, and between the checks of a listener
const MISSED_BEATS = 4; // checks in a row without a message, before the leader counts as silent

/** Whether this browser has locks and channels; over plain HTTP there are none. */
export const canShare = () => Boolean(globalThis.navigator?.locks && globalThis.BroadcastChannel);

export class TabLeader {
  /** Whether this tab posts beats: it reads, and other tabs may rely on it. */
  beats = false;

  #name;
  #channel;
  #handlers;
  #timer = null;
  #missed = 0; // checks in a row without a message

  /**
   * `onMessage(message)`: another tab has posted. `beat()`: the message that the leader posts while it has nothing else
   * to post. `onSilence()`: the leader is silent.
   */
  constructor(name, { onMessage = () => {}, onSilence = () => {}, beat = () => ({}) } = {}) {
    this.#name = name;
    this.#handlers = { onMessage, onSilence, beat };
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }) => {
      this.#missed = 0;
      onMessage(data);
    };
  }

  /** Begin to post beats as the leader, or to watch those of the leader. */
  watch() {
    this.#timer ??= setInterval(() => this.#check(), BEAT);
  }

  post(message) {
    this.#channel?.postMessage(message);
  }

  /**
   * Run `task` while this tab leads. `options` are those of the Web Locks API: a signal that ends the wait, or
   * `ifAvailable`. Resolves to whether this tab has led.
   */
  lead(task, options = {}) {
    const run = async (lock) => {
      if (!lock || !this.#channel) return false;
      this.beats = true;
      try {
        await task();
      } finally {
        this.beats = false;
      }
      return true;
    };
    return navigator.locks.request(this.#name, options, run).catch(() => false);
  }

  close() {
    clearInterval(this.#timer);
    this.#channel?.close();
    this.#channel = null;
  }

  // Checks are counted, not milliseconds: after a sleep of the machine every leader would seem to have been silent.
  #check() {
    if (this.beats) this.post(this.#handlers.beat());
    else if (++this.#missed >= MISSED_BEATS) this.#handlers.onSilence();
  }
}
