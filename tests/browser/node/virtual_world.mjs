// A browser with tabs and a server, in virtual time. The modules of the page run unchanged, each tab in a context of its
// own with timers, channels, storage and requests of this world.

import fs from 'node:fs';
import path from 'node:path';
import vm from 'node:vm';

/** A generator of random numbers in [0, 1) that depends on its seed alone. */
export function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Virtual time: calls in the order of their times. */
export class Clock {
  now = 0;
  #calls = [];
  #count = 0;

  at(time, call) {
    const entry = { time: Math.max(time, this.now), order: this.#count++, call };
    let low = 0;
    let high = this.#calls.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = this.#calls[middle];
      if (other.time < entry.time || (other.time === entry.time && other.order < entry.order)) low = middle + 1;
      else high = middle;
    }
    this.#calls.splice(low, 0, entry);
    return entry;
  }

  cancel(entry) {
    entry.call = null;
  }

  async run(until) {
    while (this.#calls.length && this.#calls[0].time <= until) {
      const { time, call } = this.#calls.shift();
      this.now = time;
      if (!call) continue;
      call();
      // All promises that the call has settled are followed up before time goes on.
      await new Promise(setImmediate);
    }
    this.now = until;
  }
}

/** The channels and the storage that tabs of one browser share. */
export class Browser {
  storage = new Map();
  channels = new Map(); // name → channels
  tabs = [];

  constructor(clock, random, { latency = 5, lag = 20 } = {}) {
    Object.assign(this, { clock, random, latency, lag });
  }

  post(name, sender, data) {
    for (const channel of this.channels.get(name) ?? []) {
      if (channel === sender) continue;
      const copy = structuredClone(data);
      // Messages of one sender keep their order.
      const last = channel.arrivals.get(sender) ?? 0;
      const time = Math.max(last, this.clock.now + 0.1 + this.random() * this.latency);
      channel.arrivals.set(sender, time);
      this.clock.at(time, () => channel.tab.task(() => !channel.closed && channel.onmessage?.({ data: copy })));
    }
  }
}

/** A tab: tasks run while it is neither frozen nor gone. */
export class Tab {
  isFrozen = false;
  isGone = false;
  #waiting = [];
  #listeners = [];

  constructor(browser, server, number) {
    Object.assign(this, { browser, server, number });
    this.connections = new Set();
    browser.tabs.push(this);
  }

  task(run) {
    if (this.isGone) return;
    if (this.isFrozen) this.#waiting.push(run);
    else run();
  }

  freeze() {
    this.isFrozen = true;
  }

  thaw() {
    this.isFrozen = false;
    for (const run of this.#waiting.splice(0)) this.browser.clock.at(this.browser.clock.now, () => this.task(run));
  }

  /** The process is gone: nothing of it runs any more. */
  crash() {
    this.isGone = true;
    for (const connection of [...this.connections]) connection.abort();
    for (const channels of this.browser.channels.values())
      for (const channel of [...channels]) if (channel.tab === this) channels.delete(channel);
  }

  /** The user closes the tab. */
  close() {
    this.task(() => this.dispatch('pagehide'));
    this.crash();
  }

  dispatch(type) {
    for (const [name, run] of [...this.#listeners]) if (name === type) run({ type });
  }

  /** Load a module of the page in this tab. */
  async load(directory, name) {
    const context = vm.createContext(this.#globals());
    const modules = new Map();
    const read = (file) => {
      if (!modules.has(file)) {
        const source = fs.readFileSync(file, 'utf8');
        modules.set(file, new vm.SourceTextModule(source, { context, identifier: file }));
      }
      return modules.get(file);
    };
    const module = read(path.join(directory, name));
    await module.link((specifier, { identifier }) => read(path.join(path.dirname(identifier), specifier)));
    await module.evaluate();
    return module.namespace;
  }

  #globals() {
    const { browser } = this;
    const { clock } = browser;
    const timer =
      (every) =>
      (run, delay = 0) => {
        const handle = {};
        const plan = () => {
          handle.entry = clock.at(clock.now + Math.max(delay, every ? 1 : 0), () => {
            if (every) plan();
            this.task(() => !handle.cleared && run());
          });
        };
        plan();
        return handle;
      };
    const clear = (handle) => {
      if (!handle) return;
      handle.cleared = true;
      clock.cancel(handle.entry);
    };
    const globals = {
      console,
      TextDecoder,
      TextEncoder,
      AbortController,
      AbortSignal,
      URL,
      URLSearchParams,
      queueMicrotask,
      structuredClone,
      setTimeout: timer(false),
      setInterval: timer(true),
      clearTimeout: clear,
      clearInterval: clear,
      performance: { now: () => clock.now },
      Date: class extends Date {
        static now() {
          return Math.floor(clock.now);
        }
      },
      Math: Object.create(Math, { random: { value: browser.random } }),
      crypto: { getRandomValues: (bytes) => bytes.map(() => Math.floor(browser.random() * 256)) },
      navigator: { onLine: true },
      document: { hidden: false, addEventListener: () => {} },
      localStorage: this.#storage(),
      addEventListener: (type, run, { signal } = {}) => {
        const entry = [type, run];
        this.#listeners.push(entry);
        signal?.addEventListener('abort', () => (this.#listeners = this.#listeners.filter((each) => each !== entry)));
      },
      removeEventListener: (type, run) =>
        (this.#listeners = this.#listeners.filter((each) => each[0] !== type || each[1] !== run)),
      fetch: (url, options) => this.server.fetch(this, String(url), options),
      BroadcastChannel: this.#channelClass(),
    };
    globals.crypto.getRandomValues = (bytes) => {
      for (let n = 0; n < bytes.length; n += 1) bytes[n] = Math.floor(browser.random() * 256);
      return bytes;
    };
    globals.globalThis = globals;
    return globals;
  }

  // What another process has written is seen a little later.
  #storage() {
    const { storage, clock, random, lag } = this.browser;
    const value = (key) => {
      const entries = storage.get(key) ?? [];
      return entries.findLast(({ tab, seen }) => tab === this || seen <= clock.now)?.value ?? null;
    };
    const write = (key, text) => {
      if (this.isGone) return;
      const entries = (storage.get(key) ?? []).slice(-20);
      storage.set(key, [...entries, { tab: this, seen: clock.now + random() * lag, value: text }]);
    };
    return { getItem: value, setItem: (key, text) => write(key, String(text)), removeItem: (key) => write(key, null) };
  }

  #channelClass() {
    const tab = this;
    const { channels } = this.browser;
    return class {
      arrivals = new Map();
      onmessage = null;
      closed = false;
      constructor(name) {
        this.tab = tab;
        this.name = name;
        if (!channels.has(name)) channels.set(name, new Set());
        if (!tab.isGone) channels.get(name).add(this);
      }
      postMessage(data) {
        if (this.closed) throw new Error('the channel is closed');
        if (!tab.isGone) tab.browser.post(this.name, this, data);
      }
      close() {
        this.closed = true;
        channels.get(this.name).delete(this);
      }
    };
  }
}
