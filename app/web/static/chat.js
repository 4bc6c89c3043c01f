/** One address of the page: a conversation, or a conversation that does not exist yet. */

import * as api from './api.js';
import { ChatHead } from './chat_head.js';
import { Composer } from './composer.js';
import { ConnectionChip } from './connection.js';
import { announce, h } from './dom.js';
import { Entries } from './entries.js';
import { dropZone } from './file_sources.js';
import { markWords } from './found_words.js';
import { Following } from './following.js';
import { Answer } from './answer.js';
import { ChatModel } from './chat_model.js';
import { ChatSettings } from './chat_settings.js';
import { explainRefusal } from './explanations.js';
import { openModels } from './models.js';
import { Question } from './question.js';
import { askedIn, nameOf } from './names.js';
import { NotificationOffer } from './notification_offer.js';
import { Presence } from './presence.js';
import { newPath } from './router.js';
import { Sending } from './sending.js';
import { notifyTabs, proof } from './session.js';
import { t } from './texts.js';
import { Thread } from './thread.js';
import { requestTitle } from './title_request.js';

const TROUBLE = new Set(['waiting', 'offline']);
const TITLE_PAUSES = [1200, 4000, 12_000]; // milliseconds between requests for a title

export class Chat {
  #app; // router, sidebar, models, actions
  #model;
  #id = null;
  #temporary;
  #left = new AbortController();
  #composer;
  #chip = new ConnectionChip(() => this.#retryNow());
  #head;
  #thread = new Thread();
  #presence = new Presence(this.#left.signal, () => this.connection);
  #hasTitle = false;
  #offer = new NotificationOffer();
  #settings = new ChatSettings(() => this.#app.models.find(this.model)?.accepts ?? {});
  #following = new Following({
    connection: () => this.connection,
    isAlone: () => this.#temporary, // the feed has no temporary conversations
    onEvent: (answer, event) => this.onEvent(answer, event),
    onState: (answer, state) => this.onState(answer, state),
    onChange: () => this.#showBusy(),
    onProblem: (text) => this.#composer.complain(text),
  });
  #entries = new Entries({
    thread: this.#thread,
    following: this.#following,
    make: { question: (message) => this.#question(message), answer: (message) => this.#answer(message) },
    onArranged: () => this.node.classList.toggle('empty', this.#entries.empty),
  });
  #sending;

  constructor(place, app) {
    this.#app = app;
    this.#id = place.id ?? null;
    this.#temporary = Boolean(place.temporary && this.#id === null);
    this.#model = new ChatModel({
      id: this.#id,
      name: place.model ?? null,
      app,
      onMove: (name) => this.#move(name),
      onUse: () => this.#composer.refresh(),
      onProblem: (why) => this.#composer.complain(why),
    });
    this.#composer = new Composer({
      place: this.#draftPlace(),
      onSend: (text, files) => this.#sending.send(text, files),
      onStop: () => this.stop(),
      onEditLast: () => this.editLast(),
      limit: app.limits.message_chars,
      limits: () => app.limits,
      accepts: () => this.#accepts,
      extra: h('div', { class: 'options' }, this.#model.node, this.#settings.node),
    });
    const [entries, following, composer] = [this.#entries, this.#following, this.#composer];
    this.#sending = new Sending(this, { entries, following, composer });
    this.#head = new ChatHead({
      before: app.navButton(),
      after: [this.#presence.node, this.#chip.node],
      menu: () => app.actions({ ...app.sidebar.get(this.#id), ...this.#about }),
      temporary: this.#id === null ? this.#temporary : null,
      onSwitch: () => app.router.go(newPath(this.model, { temporary: !this.#temporary }), { replace: true }),
    });
    this.node = h(
      'div',
      { class: 'chat' },
      this.#head.node,
      this.#head.banner,
      this.#thread.node,
      h('div', { class: 'dock' }, this.#thread.jump, this.#model.note, this.#offer.node, this.#composer.node),
    );
    const [onFiles, onProblem] = [(files) => this.#composer.attach(files), (why) => this.#composer.complain(why)];
    dropZone(this.node, { onFiles, onProblem, signal: this.#left.signal });
  }

  get id() {
    return this.#id;
  }

  get model() {
    return this.#model.name;
  }

  /** The settings that go with the first message of a conversation. */
  get settings() {
    return this.#settings.forNew;
  }

  /** Whether no list shows this conversation, and the server deletes it in time. */
  get temporary() {
    return this.#temporary;
  }

  /** The connection that all tabs of this browser share. */
  get connection() {
    return this.#app.feed;
  }

  /** Whether the page shows something else by now. */
  get left() {
    return this.#left.signal.aborted;
  }

  /** Load and show. Throws api.Problem 404 when there is no such conversation. */
  async open() {
    if (this.#id === null) this.#showGreeting();
    else await this.#load();
    this.#sending.resendPending();
    this.#composer.focus();
  }

  /** Stop reading. A message that is not acknowledged yet keeps its reader until it is. */
  leave() {
    this.#left.abort();
    this.#following.leave();
    this.#chip.show(null);
  }

  /** Stop the answer that is being written. Returns whether there was one. */
  stop() {
    const answer = this.#entries.live;
    if (answer) this.#following.cancel(answer);
    return Boolean(answer);
  }

  /** Load the messages again: other tabs and devices may have changed them. */
  async sync() {
    if (this.#id === null || this.left) return;
    try {
      this.#entries.merge(await api.messages(this.#id, { signal: this.#left.signal }));
    } catch {
      // The next event or return to the page loads them.
    }
  }

  /** Apply an event of the feed about this conversation. An event that comes twice changes nothing. */
  applyEvent(event) {
    const { type, message_id: id, parent_id: parent } = event;
    if (type === 'presence') this.#presence.show(event.connections);
    else if (type === 'conversation.updated') this.#changed(event);
    else if (type === 'message.deleted') this.#entries.delete(id);
    else if (type === 'message.new' || type === 'message.updated') {
      // A message whose parent is unknown would stand outside all branches.
      if (parent !== null && !this.#entries.has(parent)) this.sync();
      else this.#entries.merge([event]);
    }
  }

  /** Show the state of the feed while no answer has a state to show. */
  showFeedState(state) {
    if (!this.#following.busy) this.#chip.show(TROUBLE.has(state.name) ? state : null);
  }

  focus() {
    this.#composer.focus();
  }

  /** Edit the newest question. Returns whether there is one. */
  editLast() {
    const question = this.#entries.lastQuestion;
    question?.edit();
    return Boolean(question);
  }

  /** Show another name of this conversation. */
  rename(title) {
    if (this.#id === null) return;
    this.#head.name(title, this.#temporary);
    if (!this.left) this.#app.named(this);
  }

  // --- loading -------------------------------------------------------------------------------------------------

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
    this.#temporary = Boolean(conversation.temporary);
    this.#hasTitle = this.#temporary || Boolean(conversation.title);
    this.#model.load(conversation);
    this.#settings.use(this.#id, conversation);
    const about = { ...conversation, asked: askedIn(messages.find(({ role }) => role === 'user')) };
    this.rename(nameOf(about));
    this.#app.sidebar.touch(this.#id, about);
    this.#entries.merge(messages);
    // The address may name a message that a search has found.
    const found = this.#entries.reveal(this.#app.router.part);
    if (found) this.#thread.reveal(found.node);
    else this.#thread.toEnd();
    markWords(found?.node, found ? this.#app.sidebar.wordsIn(found.id) : []);
    this.#app.opened(conversation);
    this.#presence.watch(this.#id);
  }

  #question(message) {
    const box = { limits: () => this.#app.limits, accepts: () => this.#accepts };
    return new Question(message, { box, onEdit: (...changed) => this.#sending.edit(...changed) });
  }

  #answer(message) {
    const { models, router } = this.#app;
    const by = ({ name }) => this.#sending.regenerate(answer, name);
    const answer = new Answer(message, {
      labelOf: models.labelOf,
      ask: (id) => api.generation(id, this.#left.signal),
      actions: {
        again: () => this.#sending.regenerate(answer),
        continue: () => this.#sending.goOn(answer),
        model: models.items.length > 1 ? (anchor) => openModels(anchor, models, null, by) : undefined,
        new: () => router.go(newPath(models.chosen(this.model))),
      },
    });
    return answer;
  }

  // --- called by Sending -----------------------------------------------------------------------------------------

  /** Show a message and its answer before the server has accepted them. Returns both entries. */
  append(body, files) {
    const { message: content, client_msg_id } = body;
    const question = this.#question({ content, client_msg_id, attachments: files });
    return [this.#entries.append(question), this.#entries.append(this.#answer({ status: 'queued' }))];
  }

  drop(...entries) {
    this.#entries.drop(...entries);
    if (this.#entries.empty && this.#id === null) this.#showGreeting();
  }

  scrollToEnd() {
    this.#thread.toEnd({ smooth: true });
  }

  /** The server has accepted a message. A new conversation gets its address: /new becomes /c/<id>. */
  acknowledged(id, message) {
    if (this.#id === null) this.#settle(id, message);
    this.#app.sidebar.touch(id, { has_active_generation: true });
  }

  #settle(id, message) {
    this.#id = id;
    this.#settings.use(id);
    this.#presence.watch(id);
    this.#hasTitle = this.#temporary;
    const about = { id, title: null, asked: message, model: this.model, has_active_generation: true };
    if (!this.#temporary) this.#app.sidebar.add(about);
    if (this.left) return;
    this.#composer.settle(this.#draftPlace());
    this.#model.settle(id);
    this.#app.settled(this);
    this.rename(nameOf({ asked: message }));
  }

  // --- called by readers -----------------------------------------------------------------------------------------

  onEvent(answer, event) {
    answer.receive(event);
    if (event.type === 'title') this.#titled(event.title);
    if (event.type !== 'done' && event.type !== 'final') return;
    announce(answer.ending?.says ?? t('answer.finished'));
    this.#offer.answered(answer.age);
    this.#app.sidebar.touch(this.#id, { has_active_generation: false });
    this.#requestTitle(event.type === 'done' ? TITLE_PAUSES : []);
    notifyTabs({ type: 'changed', conversation: this.#id });
  }

  onState(answer, state) {
    if (this.left || state.name === 'finished' || state.name === 'stopped') return;
    this.#chip.show(state);
    // The message is not accepted yet, and is sent again by itself.
    if (state.name === 'waiting' && state.status === 429 && answer.id === null)
      answer.wait(explainRefusal(state.status, state.problem).says);
  }

  #showBusy() {
    if (this.left) return;
    const { busy } = this.#following;
    this.#composer.busy = busy;
    this.#app.busy(busy);
    if (!busy) this.showFeedState(this.#app.feed.state);
  }

  async #requestTitle(pauses) {
    if (this.#hasTitle) return;
    const isOver = () => this.#hasTitle || this.#app.feed.live || this.left || !proof();
    const title = await requestTitle(this.#id, pauses, isOver);
    if (title) this.#titled(title);
  }

  // Another page has changed the conversation.
  #changed({ title, model, ...more }) {
    this.#settings.use(this.#id, more);
    if (title) this.#titled(title);
    if (model !== undefined && model !== this.model) this.#model.use(model);
  }

  #titled(title) {
    this.#hasTitle = true;
    this.rename(title);
    this.#app.sidebar.touch(this.#id, { title });
  }

  #retryNow() {
    this.#app.feed.retryNow();
    this.#following.retryNow();
  }

  // --- details -------------------------------------------------------------------------------------------------

  /** The id of the last message that is shown, which names the branch; null without one. */
  get lastShown() {
    return this.#entries.list.at(-1)?.id ?? null;
  }

  /** The name of the conversation, as it is shown. */
  get title() {
    return this.#head.title;
  }

  get #about() {
    return { id: this.#id, title: this.title, temporary: this.#temporary };
  }

  // What the model of the next message takes.
  get #accepts() {
    return this.#app.models.accepts(this.model);
  }

  // A new chat with another model has an address of its own. The draft goes there, too.
  #move(model) {
    this.#composer.move(draftPlace(null, model));
    this.#app.router.go(newPath(model, { temporary: this.#temporary }), { replace: true });
  }

  #draftPlace() {
    return draftPlace(this.#id, this.model);
  }
}

const draftPlace = (id, model) => id ?? (model ? `new:${model}` : 'new');
