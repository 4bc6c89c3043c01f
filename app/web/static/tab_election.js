/**
 * Tabs of a browser that use the same name elect one of them as their leader.
 *
 * The tabs post messages to a BroadcastChannel, which pages over plain HTTP have too. The leader posts beats. A tab that
 * receives none asks for one, and claims the lead when no reply comes: a leader may have crashed, or the browser may
 * have frozen it. Other tabs can object to a claim for a moment. Two leaders, after a frozen one goes on, receive each
 * other's beats, and the one with the older term yields.
 *
 * localStorage names the leader. Where it names none, a new tab leads at once and does not ask first. Nothing depends
 * on that entry being right.
 */

import { randomId } from './random_and_hash.js';

export const TIMES = Object.freeze({
  check: 500, // milliseconds between two looks at the leader
  beat: 2_000, // between two beats of the leader
  silence: 3_500, // without a message of the leader, after which a tab asks for one
  reply: 2_000, // for the reply of the leader
  welcome: 400, // for the reply to a tab that has just opened
  claim: 150, // in which other tabs may object to a claim
  spread: 100, // over which the claims of several tabs are spread
});
const LEADER = 'unbroken.leader'; // the key in localStorage: the name and the leader's id

const outranks = (one, other) => one.term > other.term || (one.term === other.term && one.id < other.id);

export class TabElection {
  id = randomId();

  #name;
  #handlers;
  #channel = null;
  #timers = [];
  #isCandidate = false;
  #leader = null; // {id, term}, also of this tab; null while it is unknown
  #term = 0; // the newest term that this tab has seen
  #heardAt = 0; // time of the last message of the leader
  #askedAt = null; // time of a question to the leader that has no reply yet
  #patience = 0; // milliseconds that the reply may take
  #claim = null; // {term, timer}; the term is 0 before the claim is posted
  #beatAt = 0; // time of the last beat of this tab

  /**
   * `onLead()`: this tab leads from now on. `onYield()`: it does not any more. `onLeader()`: another tab leads, a new
   * one. `onBeat(data)` and `onNews(data)`: from the leader. `onNote(id, data)`: to this leader, from tab `id`.
   * `beat()`: the data of the leader's next beat.
   */
  constructor(name, handlers) {
    this.#name = name;
    this.#handlers = handlers;
  }

  get leads() {
    return this.#leader?.id === this.id;
  }

  /** Begin to listen to the leader, if there is one. */
  join() {
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#receive(data);
    this.#ask(TIMES.welcome);
    const check = () => this.#channel && this.#check();
    this.#timers = [setInterval(check, TIMES.check), setTimeout(check, TIMES.welcome)];
  }

  /** Be a candidate from now on; the tab leads at once when no leader is known. */
  stand() {
    this.#isCandidate = true;
    if (!this.#leader && this.#channel && !this.#storedLeader()) this.#lead(this.#term + 1);
  }

  /** Post news to the other tabs; for the leader. */
  post(data) {
    this.#send('news', { data });
  }

  /** Post a note to the leader. */
  note(data) {
    this.#send('note', { data });
  }

  /** Post a beat when one is due. A hidden tab's timers hardly run, so a leader calls this whenever data arrives. */
  alive() {
    if (this.leads && performance.now() - this.#beatAt >= TIMES.beat) this.#beat();
  }

  /** Leave the lead to another tab, and stay a candidate. */
  resign() {
    if (!this.leads) return;
    this.#send('leaves');
    this.#forgetLeader();
    this.#leader = null;
    this.#heardAt = performance.now();
    this.#handlers.onYield();
  }

  /** Take part no longer. */
  leave() {
    if (!this.#channel) return;
    this.resign();
    this.#withdraw();
    this.#leader = null;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#channel.close();
    this.#channel = null;
  }

  #send(kind, fields = {}) {
    this.#channel?.postMessage({ kind, from: this.id, term: this.#leader?.term ?? 0, ...fields });
  }

  #receive({ kind, from, term, at, data }) {
    if (!this.#channel) return;
    if (kind === 'who') this.leads && this.#beat();
    else if (kind === 'note') this.leads && this.#handlers.onNote(from, data);
    else if (kind === 'claim') this.#onClaim({ id: from, term }, at);
    else if (kind === 'leaves') this.#onLeaving(from);
    else if (!this.#accept({ id: from, term })) return;
    else if (kind === 'beat') this.#handlers.onBeat(data);
    else this.#handlers.onNews(data);
  }

  // A tab leads or claims to. Returns whether this tab listens to it.
  #accept(other) {
    this.#term = Math.max(this.#term, other.term);
    if (this.leads) {
      if (!outranks(other, this.#leader)) {
        this.#beat();
        return false;
      }
      this.#leader = other;
      this.#heard();
      this.#handlers.onYield();
      this.#handlers.onLeader();
      return true;
    }
    // A leader that a newer one has replaced, and that does not know it yet. While the newer one is silent, any will do.
    if (this.#leader && this.#askedAt === null && outranks(this.#leader, other)) return false;
    this.#withdraw();
    const isNew = this.#leader?.id !== other.id || this.#leader.term !== other.term;
    this.#leader = other;
    this.#heard();
    if (isNew) this.#handlers.onLeader();
    return true;
  }

  #heard() {
    this.#heardAt = performance.now();
    this.#askedAt = null;
  }

  #onClaim(other, at) {
    this.#term = Math.max(this.#term, other.term);
    if (this.leads) {
      // A claim that was not objected to in time is decided: the beats of both leaders settle which one stays.
      if (Date.now() - at <= TIMES.claim) this.#beat();
      return;
    }
    if (this.#claim?.term && outranks({ id: this.id, term: this.#claim.term }, other)) return;
    this.#withdraw();
    this.#heard();
  }

  #onLeaving(id) {
    if (this.#leader?.id !== id || this.leads) return;
    this.#leader = null;
    this.#heard();
    this.#claimSoon();
  }

  #check() {
    const now = performance.now();
    if (this.leads) this.alive();
    else if (this.#askedAt !== null) now - this.#askedAt >= this.#patience && this.#claimSoon();
    else if (now - this.#heardAt >= TIMES.silence) this.#ask(TIMES.reply);
  }

  #ask(patience) {
    this.#askedAt = performance.now();
    this.#patience = patience;
    this.#send('who');
  }

  // A tab that is seen claims first: the browser slows hidden ones down.
  #claimSoon() {
    if (!this.#isCandidate || this.leads || this.#claim) return;
    const delay = Math.random() * TIMES.spread + (globalThis.document?.hidden ? 2 * TIMES.spread : 0);
    this.#claim = { term: 0, timer: setTimeout(() => this.#postClaim(), delay) };
  }

  #postClaim() {
    const term = this.#term + 1;
    this.#claim = { term, timer: setTimeout(() => this.#lead(term), TIMES.claim) };
    this.#send('claim', { term, at: Date.now() });
  }

  #withdraw() {
    clearTimeout(this.#claim?.timer);
    this.#claim = null;
  }

  #lead(term) {
    this.#claim = null;
    this.#term = Math.max(this.#term, term);
    this.#leader = { id: this.id, term };
    this.#askedAt = null;
    this.#storeLeader();
    this.#beat();
    this.#handlers.onLead();
  }

  #beat() {
    this.#beatAt = performance.now();
    this.#send('beat', { data: this.#handlers.beat() });
  }

  // --- the entry in localStorage; it may be forbidden ------------------------------------------------------------

  get #entry() {
    return `${this.#name} ${this.id}`;
  }

  #storedLeader() {
    try {
      return localStorage.getItem(LEADER)?.startsWith(`${this.#name} `) ?? false;
    } catch {
      return true;
    }
  }

  #storeLeader() {
    try {
      localStorage.setItem(LEADER, this.#entry);
    } catch {
      // A new tab asks for the leader then.
    }
  }

  #forgetLeader() {
    try {
      if (localStorage.getItem(LEADER) === this.#entry) localStorage.removeItem(LEADER);
    } catch {
      // There is nothing to remove.
    }
  }
}
