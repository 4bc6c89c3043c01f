/**
 * One connection for all tabs of a browser: the changes of everything the user has, the running answers, and presence.
 *
 *     const connection = new SharedConnection({
 *       url: '/api/v1',
 *       token,                           // as in stream.js
 *       name: 'unbroken.tabs.0197…',     // tabs with this name share; each sign-in has a name of its own
 *       user: '0197…',                   // optional: the user's id; a connection of another user is not read
 *       onEvent: (event) => { … },       // {type, …}; each numbered event once, in order; and `presence`
 *       onMissed: () => { … },           // events are missing that the feed does not repeat: load everything again
 *       onState: (state) => { … },       // {name: connecting | live | waiting | offline | stopped}, as in stream.js
 *       onSignedOut: (token) => { … },
 *     });
 *     connection.begin(12);              // the data that was loaded elsewhere includes event 12
 *     const reader = connection.follow(generationId, { onEvent, onState });   // as `follow` of stream.js
 *     connection.show([conversationId]); // what this tab shows; the server counts the connections that show it
 *
 * The tabs elect a leader (tab_election.js). It alone is connected, and posts what it receives to the others: the
 * events of an answer to a channel of that answer (answer_relay.js), everything else to the channel of the name. Each
 * tab has cursors of its own, so what comes twice is dropped. What did not come is polled for (answer_reader.js), or
 * loaded again (`onMissed`).
 */

import { AnswerReader } from './answer_reader.js';
import { AnswerRelay } from './answer_relay.js';
import { Feed } from './feed.js';
import { NumberedEvents } from './numbered_events.js';
import { SharedPresence } from './shared_presence.js';
import { follow } from './stream.js';
import { TabElection } from './tab_election.js';

const GLANCE = 1_500; // milliseconds; a conversation that is shown for less is not counted

export class SharedConnection {
  url;
  token;

  #options;
  #name;
  #election = null;
  #answers = null;
  #readers = new Set();
  #feed = null; // the open connection; null in a tab that does not lead
  #numbers = new NumberedEvents();
  #presence = new SharedPresence();
  #state = { name: 'connecting' };
  #glance = null;
  #away = new AbortController();

  constructor(options) {
    this.#options = options;
    this.url = options.url;
    this.token = options.token;
    this.#name = options.name;
    this.#join();
    const { signal } = this.#away;
    // A page that the browser keeps for "back", or freezes, leaves the lead to another tab.
    globalThis.addEventListener?.('pagehide', () => this.#part(), { signal });
    globalThis.addEventListener?.('pageshow', () => this.#election ?? this.#join(), { signal });
    globalThis.document?.addEventListener('freeze', () => this.#election?.resign(), { signal });
  }

  /** Whether events arrive as they happen. */
  get live() {
    return this.#state.name === 'live';
  }

  get state() {
    return this.#state;
  }

  /** Receive from after event `number`. To be called again when everything was loaded again. */
  begin(number) {
    const isFirst = this.#numbers.newest === null;
    for (const event of this.#numbers.begin(number)) this.#options.onEvent(event);
    if (!isFirst) return;
    this.#feed?.retryNow();
    this.#election?.stand();
  }

  /** Read an answer. Returns a reader as `follow` of stream.js does. `alone`: the feed does not carry this answer. */
  follow(generationId, { alone = false, ...options }) {
    const { url, token } = this;
    if (alone)
      return follow({ url: `${url}/generations/${encodeURIComponent(generationId)}/stream`, token, ...options });
    const reader = new AnswerReader(this, { generationId, ...options });
    this.#readers.add(reader);
    this.#answers?.attach(reader);
    return reader.start();
  }

  /** A reader has ended. */
  detach(reader) {
    this.#readers.delete(reader);
    this.#answers?.detach(reader);
  }

  /** The ids of the conversations that this tab shows. */
  show(conversations) {
    this.#presence.shown = conversations;
    this.#noteShown();
    this.#glanceLater();
  }

  /** The connections that follow a conversation, as far as they are known. */
  connections(conversation) {
    return this.#presence.count(conversation);
  }

  retryNow() {
    if (this.#feed) this.#feed.retryNow();
    else this.#election?.note({ retry: true });
  }

  /** Share with the tabs of another name from now on: the user has signed in again. */
  rename(name) {
    if (name === this.#name) return;
    this.#name = name;
    if (!this.#election) return;
    this.#part();
    this.#join();
  }

  close() {
    this.#away.abort();
    clearTimeout(this.#glance);
    this.#part();
  }

  // --- the tabs ------------------------------------------------------------------------------------------------

  #join() {
    this.#answers = new AnswerRelay(this.#name);
    for (const reader of this.#readers) this.#answers.attach(reader);
    this.#election = new TabElection(this.#name, {
      onLead: () => this.#lead(),
      onYield: () => this.#yield(),
      onLeader: () => this.#onLeader(),
      onBeat: (beat) => this.#onBeat(beat),
      onNews: (news) => this.#onNews(news),
      onNote: (tab, note) => this.#onNote(tab, note),
      beat: () => this.#beat(),
    });
    this.#election.join();
    if (this.#numbers.newest !== null) this.#election.stand();
  }

  #part() {
    if (this.#presence.shown.length) this.#election?.note({ shown: [] });
    this.#election?.leave();
    this.#election = null;
    this.#answers?.close();
    this.#answers = null;
  }

  #onLeader() {
    if (this.#presence.shown.length) this.#noteShown();
    this.#checkAnswers();
  }

  // Events of an answer may be lost while the leader changes.
  #checkAnswers() {
    for (const reader of this.#readers) reader.check();
  }

  #beat() {
    if (this.#presence.isStale) this.#glanceLater();
    const { cursors } = this.#answers;
    return { state: this.#state, newest: this.#numbers.newest, cursors, counts: this.#presence.counts };
  }

  #onBeat({ state, newest, cursors, counts }) {
    this.#answers.learn(cursors);
    this.#show(state);
    for (const [conversation, connections] of this.#presence.learn(counts)) this.#counted(conversation, connections);
    if (this.#presence.isNoteDue) this.#noteShown();
    // All events up to the leader's newest one were posted before the beat.
    if (this.#numbers.newest === null || newest <= this.#numbers.newest) return;
    this.#numbers.begin(newest);
    this.#options.onMissed();
  }

  #onNews({ state, id, event, isMissed, isReset, presence }) {
    if (isReset) this.#numbers.forget();
    if (state) this.#show(state);
    if (event) this.#apply(id, event);
    if (isMissed) this.#options.onMissed();
    if (presence) this.#count(...presence);
  }

  #onNote(tab, { retry, shown }) {
    if (retry) this.#feed?.retryNow();
    if (!shown) return;
    this.#presence.note(tab, shown);
    this.#glanceLater();
  }

  #noteShown() {
    if (!this.#feed) this.#election?.note({ shown: this.#presence.noted });
  }

  // --- the connection of the leader ------------------------------------------------------------------------------

  #lead() {
    this.#answers.lead();
    this.#feed = new Feed({
      address: () => this.#address(),
      token: this.token,
      onEvent: (name, event, id) => this.#receive(name, event, id),
      onBytes: () => this.#election?.alive(),
      onState: (state) => this.#show(state),
      onRefused: (refusal) => this.#onRefused(refusal),
      onKept: () => this.#presence.keepNamed(),
      onSignedOut: this.#options.onSignedOut,
    });
    this.#feed.start();
    this.#checkAnswers();
  }

  #yield() {
    this.#feed?.stop();
    this.#feed = null;
    this.#answers.yield();
  }

  #address() {
    const after = this.#answers.positions();
    const shown = this.#presence.name();
    const rest = `${after && `&after=${after}`}${shown && `&presence=${shown}`}`;
    return `${this.url}/feed?from_seq=${this.#numbers.newest ?? ''}&generations=live${rest}`;
  }

  // Returns whether the address is another one now.
  #onRefused({ status, problem }) {
    const isAhead = problem?.errors?.some(({ field }) => field === 'from_seq');
    if (!isAhead) return status === 400 && this.#answers.refuse();
    // The server was restored from a backup. The next `begin` has a number that it has reached.
    this.#numbers.forget();
    this.#missed({ isReset: true });
    return this.#numbers.newest !== null;
  }

  // The conversations that the tabs show are part of the address.
  #glanceLater() {
    clearTimeout(this.#glance);
    this.#glance = setTimeout(() => this.#presence.isStale && this.#feed?.refresh(), GLANCE);
  }

  #receive(name, event, id) {
    if (!this.#feed) return;
    if (name === 'generation.event') this.#answers.receive(event);
    else if (event.type === 'connection.established') this.#checkUser(event);
    else if (event.type === 'replay.end') event.missed && this.#missed();
    else if (event.type === 'presence') this.#postCount(event);
    else if (this.#apply(id, event)) this.#election.post({ id, event });
  }

  // The cookie may be another user's before this page hears of the new sign-in.
  #checkUser({ user_id: user }) {
    if (!user || !this.#options.user || user === this.#options.user) return;
    this.#feed.stop();
    this.#show({ name: 'stopped', reason: 'another user' });
  }

  #missed({ isReset = false } = {}) {
    this.#election.post({ isMissed: true, isReset });
    this.#options.onMissed();
  }

  #postCount({ conversation_id: conversation, connections }) {
    this.#election.post({ presence: [conversation, connections] });
    this.#count(conversation, connections);
  }

  // --- this tab ------------------------------------------------------------------------------------------------

  // Returns whether the event was new.
  #apply(id, event) {
    if (id !== null) {
      const { isNew, follows } = this.#numbers.take(id, event);
      if (!isNew) return false;
      this.#updated(event);
      // The leader receives all events; `replay.end` reports those that the feed does not repeat.
      if (!follows && !this.#feed) this.#options.onMissed();
    }
    this.#options.onEvent(event);
    return true;
  }

  #updated({ type, generation_id: generation }) {
    if (type !== 'message.updated') return;
    for (const reader of this.#readers) if (reader.generationId === generation) reader.expectEnd();
  }

  #count(conversation, connections) {
    if (this.#presence.keep(conversation, connections)) this.#counted(conversation, connections);
  }

  #counted(conversation, connections) {
    this.#options.onEvent({ type: 'presence', conversation_id: conversation, connections });
  }

  #show(state) {
    if (state.name === 'live' && this.live) return;
    this.#state = state;
    if (this.#feed) this.#election?.post({ state });
    this.#options.onState?.(state);
    for (const reader of this.#readers) reader.sourceChanged();
  }
}
