/**
 * Which conversations the tabs of a browser show, and how many connections the server counts for each.
 *
 * The browser's one connection names the conversations of all its tabs. A tab that is silent for a while is forgotten.
 */

const NOTE = 10_000; // milliseconds between two notes of a tab to the leader
const FORGOTTEN = 30_000; // after its last note, a tab is forgotten
const AGAIN = 10_000; // after a connection that did not come, before another one is wanted
const MOST = 50; // conversations that a request names

export class SharedPresence {
  shown = []; // the conversations that this tab shows

  #others = new Map(); // id of another tab → {shown, at}; the leader's
  #counts = new Map(); // conversation → connections
  #notedAt = -Infinity;
  #named = ''; // the conversations that the connection names
  #before = null; // {named, counts} of the connection before
  #failedAt = -Infinity;

  /** The conversations of all tabs, as the feed's `presence` takes them. */
  get wanted() {
    const now = performance.now();
    for (const [id, { at }] of this.#others) if (now - at > FORGOTTEN) this.#others.delete(id);
    const all = new Set([...this.shown, ...[...this.#others.values()].flatMap(({ shown }) => shown)]);
    return [...all].sort().slice(0, MOST).join(',');
  }

  /** Whether another connection is wanted: this one names other conversations than the tabs show. */
  get isStale() {
    return this.wanted !== this.#named && performance.now() - this.#failedAt >= AGAIN;
  }

  /** The conversations for a new connection. What is known about others gets old from now on. */
  name() {
    this.#before = { named: this.#named, counts: this.#counts };
    this.#named = this.wanted;
    this.#counts = new Map(Object.entries(this.counts));
    return this.#named;
  }

  /** The connection that `name` was for did not come: the one before it is kept. */
  keepNamed() {
    this.#named = this.#before.named;
    this.#counts = new Map([...this.#before.counts, ...this.#counts]);
    this.#failedAt = performance.now();
  }

  /** Another tab has told what it shows. */
  note(id, shown) {
    if (shown.length) this.#others.set(id, { shown, at: performance.now() });
    else this.#others.delete(id);
  }

  /** Whether this tab should repeat its note. */
  get isNoteDue() {
    return this.shown.length > 0 && performance.now() - this.#notedAt >= NOTE;
  }

  /** What this tab shows, for a note. */
  get noted() {
    this.#notedAt = performance.now();
    return this.shown;
  }

  /** The connections that follow a conversation, as far as they are known. */
  count(conversation) {
    return this.#counts.get(conversation) ?? 0;
  }

  /** The counts of the conversations that the connection names, for a beat. */
  get counts() {
    const named = this.#named.split(',');
    return Object.fromEntries([...this.#counts].filter(([conversation]) => named.includes(conversation)));
  }

  /** Keep the counts of the leader's beat. Returns those that have changed. */
  learn(counts) {
    const before = this.#counts;
    this.#counts = new Map(Object.entries(counts));
    const gone = [...before.keys()].filter((conversation) => !this.#counts.has(conversation));
    const changed = [...this.#counts].filter(([conversation, count]) => before.get(conversation) !== count);
    return [...changed, ...gone.map((conversation) => [conversation, 0])];
  }

  /** Keep a count. Returns whether it has changed. */
  keep(conversation, connections) {
    if (this.#counts.get(conversation) === connections) return false;
    this.#counts.set(conversation, connections);
    return true;
  }
}
