/** One place of the page: a conversation, or one that does not exist yet. */

import * as api from './api.js';
import { Branches } from './branches.js';
import { Composer } from './composer.js';
import { ConnectionChip } from './connection.js';
import { announce, h, icon } from './dom.js';
import * as drafts from './drafts.js';
import { Answer, Question } from './message.js';
import { chosen } from './meanwhile.js';
import { modelPicker } from './models.js';
import { openMenu } from './overlay.js';
import { conversationPath, newPath } from './router.js';
import { Presence } from './presence.js';
import { expire, tell, token } from './session.js';
import { randomId } from './stream.js';
import { Thread } from './thread.js';
import { beginTogether, followTogether } from './together.js';

const LONGEST_NAME = 60;
const TROUBLE = new Set(['waiting', 'offline']);
const TITLE_PAUSES = [1200, 4000, 12_000];
const ENDED = { completed: 'Answer finished', cancelled: 'Answer stopped', error: 'The answer failed' };

export class Chat {
  #app; // router, sidebar, models, actions
  #model;
  #id = null;
  #messages = new Map(); // id → message, as the server says
  #branches = new Branches();
  #entries = []; // Question and Answer as shown, in order
  #readers = new Map(); // Answer → reader of stream.js
  #unwanted = new Set(); // answers to be stopped as soon as their id is known
  #left = new AbortController();
  #composer;
  #chip = new ConnectionChip(() => this.#retryNow());
  #title = h('span', {});
  #menu;
  #heading;
  #thread = new Thread();
  #presence = new Presence(this.#left.signal);
  #hasTitle = false;

  constructor(place, app) {
    this.#app = app;
    this.#id = place.id ?? null;
    this.#model = place.model ?? null;
    this.#composer = new Composer({
      place: this.#draftPlace(),
      onSend: (text) => this.#send(text),
      onStop: () => this.stop(),
      onEditLast: () => this.editLast(),
      limit: app.limits.message_chars,
      extra: this.#id ? null : this.#modelPicker(),
    });
    const attributes = { type: 'button', class: 'title', 'aria-haspopup': 'menu', 'aria-expanded': 'false' };
    this.#menu = h('button', { ...attributes, onclick: () => this.#openMenu() }, this.#title, icon('chevron'));
    this.#heading = h('h1', { hidden: true }, this.#menu);
    this.node = h(
      'div',
      { class: 'chat' },
      h(
        'header',
        {},
        app.navButton(),
        this.#heading,
        h('div', { class: 'spring' }),
        this.#presence.node,
        this.#chip.node,
      ),
      this.#thread.node,
      h('div', { class: 'dock' }, this.#thread.jump, this.#composer.node),
    );
  }

  get id() {
    return this.#id;
  }

  /** Fetch and show. Throws api.Problem 404 when there is nothing to show. */
  async open() {
    if (this.#id === null) this.#showGreeting();
    else await this.#load();
    this.#resendPending();
    this.#composer.focus();
  }

  /** Stop reading; what is not acknowledged yet keeps its reader until it is. */
  leave() {
    this.#left.abort();
    for (const [answer, reader] of this.#readers) if (answer.generationId) reader.stop();
    this.#chip.show(null);
  }

  /** Stop the answer that is being written. Returns whether there was one. */
  stop() {
    const answer = this.#entries.find((entry) => entry instanceof Answer && entry.live && this.#readers.has(entry));
    if (!answer) return false;
    if (answer.generationId) this.#cancel(answer);
    // Nobody has heard of it yet: stop it as soon as somebody has; asked twice, stop trying.
    else if (this.#unwanted.has(answer)) this.#readers.get(answer).stop();
    else this.#unwanted.add(answer);
    answer.wait('Stopping');
    return true;
  }

  /** Catch up with what other tabs and machines did. */
  async sync() {
    if (this.#id === null || this.#left.signal.aborted) return;
    try {
      this.#merge(await api.messages(this.#id, { signal: this.#left.signal }));
    } catch {
      // The next occasion will do.
    }
  }

  /** What the feed says about this conversation. Hearing something twice changes nothing. */
  hear(event) {
    const { type, message_id: id, parent_id: parent } = event;
    if (type === 'conversation.updated' && event.title) this.#titled(event.title);
    else if (type === 'message.deleted') {
      if (this.#messages.delete(id)) this.#spread();
    } else if (type === 'message.new' || type === 'message.updated') {
      // A message whose parent was never seen here would stand beside everything.
      if (parent !== null && !this.#messages.has(parent)) this.sync();
      else this.#merge([event]);
    }
  }

  /** Whether other people's news arrive. Said when no answer has something to say about the connection. */
  noteFeed(state) {
    if (!this.#readers.size) this.#chip.show(TROUBLE.has(state.name) ? state : null);
  }

  focus() {
    this.#composer.focus();
  }

  /** Edit what was asked last. Returns whether there is such a thing. */
  editLast() {
    const question = this.#entries.findLast((entry) => entry instanceof Question && entry.id);
    question?.edit();
    return Boolean(question);
  }

  /** The list has learned something about this conversation. */
  rename(title) {
    this.#title.textContent = title;
    this.#heading.hidden = this.#id === null;
  }

  // --- showing -------------------------------------------------------------------------------------------------

  #showGreeting() {
    this.node.classList.add('empty');
    this.#thread.greet();
  }

  async #load() {
    this.#thread.wait();
    const { signal } = this.#left;
    const [conversation, messages] = await Promise.all([
      api.conversation(this.#id, signal),
      api.messages(this.#id, { signal }),
    ]);
    if (signal.aborted) return;
    this.#hasTitle = Boolean(conversation.title);
    const about = { ...conversation, asked: messages.find(({ role }) => role === 'user')?.content };
    this.rename(nameOf(about));
    this.#app.sidebar.touch(this.#id, about);
    this.#merge(messages);
    if (!this.#reveal(this.#app.router.part)) this.#thread.toEnd();
    this.#presence.watch(this.#id);
  }

  // Show a message that was searched for. Returns whether it is here.
  #reveal(id) {
    if (!this.#messages.has(id)) return false;
    this.#branches.reveal(id);
    this.#arrange();
    const entry = this.#entries.find((each) => each.id === id);
    if (entry) this.#thread.reveal(entry.node);
    return Boolean(entry);
  }

  // Bring the thread to what the server says, keeping what already stands.
  #merge(messages) {
    for (const message of messages) this.#messages.set(message.message_id, message);
    this.#spread();
  }

  #spread() {
    const shown = [...this.#messages.values()].filter(({ role }) => role === 'user' || role === 'assistant');
    this.#branches.update(shown.sort((one, other) => one.seq - other.seq));
    this.#arrange();
  }

  #arrange() {
    const path = this.#branches.path;
    const unsaved = this.#entries.filter((entry) => !this.#branches.has(entry.id) && this.#isPending(entry));
    // From the end, where one looks first.
    const arranged = path.toReversed().map((message) => this.#entryFor(message)).reverse();
    const kept = [...arranged, ...unsaved.filter((entry) => !arranged.includes(entry))];
    for (const entry of this.#entries) if (!kept.includes(entry)) this.#discard(entry);
    this.#entries = kept;
    this.#thread.place(kept.map(({ node }) => node));
    this.node.classList.toggle('empty', !kept.length);
    for (const entry of kept) {
      if (entry.id) entry.showVariants(this.#branches.place(entry.id), (step) => this.#turn(entry, step));
      if (entry instanceof Answer && entry.live && entry.generationId) this.#follow(entry);
    }
  }

  // Written here a moment ago: the server may not have listed it yet.
  #isPending(entry) {
    return (
      entry.id === null ||
      this.#readers.has(entry) ||
      this.#readers.has(this.#entries[this.#entries.indexOf(entry) + 1])
    );
  }

  #entryFor(message) {
    const known = this.#entries.find((entry) => entry.id === message.message_id) ?? this.#optimistic(message);
    if (!known) return message.role === 'user' ? this.#question(message) : this.#answer(message);
    if (known instanceof Question) known.acknowledge(message.message_id);
    else if (!this.#readers.has(known) && known.status !== message.status) return this.#answer(message);
    return known;
  }

  // What stands here already, and the server has only now given a name.
  #optimistic({ role, client_msg_id: clientId, parent_id: parent, message_id: id, generation_id: generation }) {
    if (role === 'user')
      return clientId && this.#entries.find((entry) => entry instanceof Question && entry.clientId === clientId);
    const answer = this.#entries[this.#entries.findIndex((entry) => entry.id === parent) + 1];
    if (!(answer instanceof Answer) || answer.id !== null) return null;
    answer.id = id;
    answer.generationId = generation;
    return answer;
  }

  #question(message) {
    return new Question(message, { onEdit: (question, text) => this.#edit(question, text) });
  }

  #answer(message) {
    const { labelOf } = this.#app.models;
    const answer = new Answer(message, { labelOf, onRetry: () => this.#regenerate(answer) });
    if (message.status === 'error' && message.generation_id) this.#explain(answer);
    return answer;
  }

  // A message says that its answer failed; its generation says why.
  async #explain(answer) {
    const { error } = await api.generation(answer.generationId, this.#left.signal).catch(() => ({}));
    if (error) answer.explain(error);
  }

  #discard(entry) {
    this.#readers.get(entry)?.stop();
    entry.node.remove();
  }

  #turn(entry, step) {
    this.#branches.turn(entry.id, step);
    this.#arrange();
  }

  #append(entry) {
    this.node.classList.remove('empty');
    this.#entries.push(entry);
    this.#thread.place(this.#entries.map(({ node }) => node));
    return entry;
  }

  #drop(...entries) {
    this.#entries = this.#entries.filter((entry) => !entries.includes(entry));
    for (const entry of entries) entry.node.remove();
    if (!this.#entries.length && this.#id === null) this.#showGreeting();
  }

  // --- sending -------------------------------------------------------------------------------------------------

  #send(text) {
    const body = { client_msg_id: randomId(), message: text };
    if (this.#id) body.conversation_id = this.#id;
    else if (this.#model) body.model = this.#model;
    if (this.#readers.size) body.on_busy = chosen().name;
    const parent = this.#branches.parentToName;
    // What takes the place of another message follows what that one followed.
    if (parent && body.on_busy !== 'replace') body.parent_id = parent;
    this.#branches.forget();
    drafts.keepPending(body);
    this.#begin(body);
  }

  // A refresh came between the POST and its answer: the same key asks again, and gets the same generation.
  #resendPending() {
    const body = drafts.peekPending();
    if (!body || (body.conversation_id ?? null) !== this.#id || (!this.#id && (body.model ?? null) !== this.#model))
      return;
    const question = this.#entries.find((entry) => entry.clientId === body.client_msg_id);
    if (question) drafts.dropPending(body.client_msg_id);
    else this.#begin(body);
  }

  #begin(body) {
    const question = this.#append(this.#question({ content: body.message, client_msg_id: body.client_msg_id }));
    const answer = this.#append(this.#answer({ status: 'queued' }));
    announce('Message sent');
    this.#thread.toEnd({ smooth: true });
    const reader = beginTogether({
      url: '/api/v1/generations',
      body,
      token,
      onState: (state) => this.#show(answer, state),
      onEvent: (event) => {
        if (event.type === 'open') this.#acknowledged(body, question, answer, event);
        this.#receive(answer, event);
      },
    });
    this.#read(answer, reader).then((end) => {
      if (answer.generationId) return;
      drafts.dropPending(body.client_msg_id);
      this.#drop(question, answer);
      this.#refused(body.message, end);
    });
  }

  #acknowledged({ client_msg_id: clientId, message }, question, answer, event) {
    if (question.id) return;
    drafts.dropPending(clientId);
    question.acknowledge(event.user_message_id);
    answer.generationId = event.generation_id;
    answer.id = event.message_id;
    if (this.#unwanted.delete(answer)) this.#cancel(answer);
    if (this.#id === null) this.#settle(event.conversation_id, message);
    this.#app.sidebar.touch(event.conversation_id, { has_active_generation: true });
    tell({ type: 'changed', conversation: event.conversation_id });
    if (this.#left.signal.aborted) this.#readers.get(answer)?.stop();
  }

  // The conversation exists now: /new becomes /c/<id> without showing anything anew.
  #settle(id, message) {
    this.#id = id;
    this.#presence.watch(id);
    this.#app.sidebar.add({ id, title: null, asked: message, model: this.#model, has_active_generation: true });
    if (this.#left.signal.aborted) return;
    this.#composer.settle(this.#draftPlace());
    this.#app.router.rename(conversationPath(id, this.#model));
    this.#app.settled(this);
    this.rename(nameOf({ asked: message }));
  }

  #refused(message, { reason, status, problem }) {
    if (this.#left.signal.aborted) return;
    const why = { 'signed-out': null, stopped: 'Not sent, as far as this page knows: the server was not heard.' };
    this.#composer.restore(message, reason in why ? why[reason] : api.explain(status, problem));
  }

  #regenerate(answer) {
    return this.#branch(() => api.regenerate(answer.id, { client_msg_id: randomId() }));
  }

  #edit(question, text) {
    return this.#branch(() => api.edit(question.id, { message: text, client_msg_id: randomId() }));
  }

  // Ask for a new branch and show it. Returns whether that worked.
  async #branch(request) {
    this.#composer.complain(null);
    try {
      await request();
    } catch (problem) {
      this.#composer.complain(problem.message);
      return false;
    }
    this.#branches.forget();
    await this.sync();
    tell({ type: 'changed', conversation: this.#id });
    this.#thread.toEnd({ smooth: true });
    return true;
  }

  // --- following -----------------------------------------------------------------------------------------------

  #follow(answer) {
    if (this.#readers.has(answer)) return;
    const reader = followTogether({
      generationId: answer.generationId,
      url: `/api/v1/generations/${encodeURIComponent(answer.generationId)}/stream`,
      token,
      onState: (state) => this.#show(answer, state),
      onEvent: (event) => this.#receive(answer, event),
    });
    this.#read(answer, reader);
  }

  async #read(answer, reader) {
    const usedToken = token();
    this.#readers.set(answer, reader);
    this.#showBusy();
    const end = await reader.finished;
    this.#readers.delete(answer);
    this.#unwanted.delete(answer);
    this.#showBusy();
    if (end.reason === 'signed-out') expire(usedToken);
    else if (end.reason === 'refused' && answer.generationId)
      this.#composer.complain(api.explain(end.status, end.problem));
    return end;
  }

  #showBusy() {
    if (this.#left.signal.aborted) return;
    const busy = this.#readers.size > 0;
    this.#composer.busy = busy;
    this.#app.busy(busy);
    if (!busy) this.noteFeed(this.#app.feed.state);
  }

  #receive(answer, event) {
    answer.receive(event);
    if (event.type === 'title') this.#titled(event.title);
    if (event.type !== 'done' && event.type !== 'final') return;
    announce(ENDED[answer.status] ?? '');
    this.#app.sidebar.touch(this.#id, { has_active_generation: false });
    this.#askForTitle(event.type === 'done' ? TITLE_PAUSES : []);
    tell({ type: 'changed', conversation: this.#id });
  }

  // The title is written in the background; it may come when the stream has ended.
  async #askForTitle([pause, ...pauses]) {
    if (pause === undefined || this.#hasTitle) return;
    await new Promise((resolve) => setTimeout(resolve, pause));
    if (this.#hasTitle || this.#app.feed.live || this.#left.signal.aborted || !token()) return;
    const { title } = await api.conversation(this.#id).catch(() => ({}));
    if (title) this.#titled(title);
    else await this.#askForTitle(pauses);
  }

  #titled(title) {
    this.#hasTitle = true;
    this.rename(title);
    this.#app.sidebar.touch(this.#id, { title });
  }

  #show(answer, state) {
    if (this.#left.signal.aborted) return;
    if (state.name === 'finished' || state.name === 'stopped') return;
    this.#chip.show(state);
  }

  #retryNow() {
    this.#app.feed.retryNow();
    for (const reader of this.#readers.values()) reader.retryNow();
  }

  async #cancel(answer) {
    try {
      const generation = await api.cancel(answer.generationId);
      // The open stream says the same in a moment; one that is broken may take long to.
      setTimeout(() => {
        if (!answer.live) return;
        this.#readers.get(answer)?.stop();
        this.#receive(answer, { type: 'final', generation });
      }, 2500);
    } catch (problem) {
      answer.wait('');
      this.#composer.complain(`Not stopped: ${problem.message}`);
    }
  }

  // --- details -------------------------------------------------------------------------------------------------

  #draftPlace() {
    return this.#id ?? (this.#model ? `new:${this.#model}` : 'new');
  }

  #modelPicker() {
    const pick = ({ isDefault, name }) => this.#app.router.go(newPath(isDefault ? null : name), { replace: true });
    return modelPicker(this.#app.models, this.#model, pick);
  }

  #openMenu() {
    openMenu(this.#menu, this.#app.actions({ id: this.#id, title: this.#title.textContent }));
  }
}

/** What a conversation is called: its title, or until it has one, how it began. */
export function nameOf({ title, asked, preview }) {
  if (title) return title;
  const words = (asked ?? preview ?? '')
    .replace(/[#*`>_~|]+/g, '')
    .replace(/\s+/g, ' ')
    .trim();
  if (words.length <= LONGEST_NAME) return words || 'New chat';
  return `${words.slice(0, LONGEST_NAME).replace(/\s+\S*$/, '')}…`;
}
