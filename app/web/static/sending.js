/** Sending in a chat: a new message, a new version of a message or answer, and a message that was not acknowledged. */

import { startAnswer } from './answer_start.js';
import * as api from './api.js';
import { chosen } from './busy_policy.js';
import { announce } from './dom.js';
import * as drafts from './drafts.js';
import { explainRefusal } from './explanations.js';
import { notifyTabs } from './session.js';
import { randomId } from './stream.js';
import { t } from './texts.js';

export class Sending {
  #chat;
  #entries;
  #following;
  #composer;

  /** `chat`: the chat, for its address and its entries; see the calls below. */
  constructor(chat, { entries, following, composer }) {
    this.#chat = chat;
    this.#entries = entries;
    this.#following = following;
    this.#composer = composer;
  }

  /** Send a message with files that the server has, described as in messages. */
  send(text, files) {
    const { id, model } = this.#chat;
    const body = { client_msg_id: randomId(), message: text };
    if (files.length) body.attachments = files.map(({ file_id: file }) => file);
    if (id) body.conversation_id = id;
    else if (model) body.model = model;
    if (!id && this.#chat.temporary) body.temporary = true;
    if (!id) Object.assign(body, this.#chat.settings);
    if (this.#following.busy) body.on_busy = chosen().name;
    const parent = this.#entries.parentToName;
    // A message that replaces another one has the parent of that one.
    if (parent && body.on_busy !== 'replace') body.parent_id = parent;
    this.#entries.showNewest();
    drafts.keepPending(body, files);
    this.#begin(body, files);
  }

  /** Repeat a POST that a refresh of the page interrupted: its key leads to the generation it has made, if any. */
  resendPending() {
    const { id, model } = this.#chat;
    const body = drafts.peekPending();
    if (!body || (body.conversation_id ?? null) !== id || (!id && (body.model ?? null) !== model)) return;
    if (this.#entries.question(body.client_msg_id)) drafts.dropPending(body.client_msg_id);
    else this.#begin(body, drafts.pendingFiles());
  }

  /** Generate an answer again, by the model `model` if one is named. Returns whether the server has accepted it. */
  regenerate(answer, model = undefined) {
    return this.#branch(() => api.regenerate(answer.id, { client_msg_id: randomId(), model }));
  }

  /** Go on with an answer that was cut off. Returns whether the server has accepted it. */
  goOn(answer) {
    return this.#branch(() => api.goOn(answer.id, { client_msg_id: randomId() }));
  }

  /** Send a question in other words, or with other files; null keeps them. Returns whether the server has accepted it. */
  edit(question, text, files) {
    const body = { message: text, client_msg_id: randomId() };
    if (files) body.attachments = files.map(({ file_id: file }) => file);
    return this.#branch(() => api.edit(question.id, body));
  }

  async #branch(request) {
    this.#composer.complain(null);
    try {
      await request();
    } catch (problem) {
      this.#composer.complain(problem.explanation ?? problem.message);
      return false;
    }
    this.#entries.showNewest();
    await this.#chat.sync();
    notifyTabs({ type: 'changed', conversation: this.#chat.id });
    this.#chat.scrollToEnd();
    return true;
  }

  #begin(body, files) {
    const [question, answer] = this.#chat.append(body, files);
    announce(t('answer.sent'));
    this.#chat.scrollToEnd();
    const reader = startAnswer(this.#chat.connection, {
      body,
      alone: this.#chat.temporary || body.temporary, // the feed has no temporary conversations
      onState: (state) => this.#chat.onState(answer, state),
      onEvent: (event) => {
        if (event.type === 'open') this.#acknowledged(body, question, answer, event);
        this.#chat.onEvent(answer, event);
      },
    });
    this.#following.read(answer, reader).then((end) => {
      if (answer.generationId) return;
      drafts.dropPending(body.client_msg_id);
      this.#chat.drop(question, answer);
      this.#refused(body.message, end, files);
    });
  }

  #acknowledged({ client_msg_id: clientId }, question, answer, event) {
    if (question.id) return;
    drafts.dropPending(clientId);
    question.acknowledge(event.user_message_id);
    answer.generationId = event.generation_id;
    answer.id = event.message_id;
    this.#following.acknowledged(answer);
    this.#chat.acknowledged(event.conversation_id, question.asked);
    notifyTabs({ type: 'changed', conversation: event.conversation_id });
    if (this.#chat.left) this.#following.stop(answer);
  }

  #refused(message, { reason, status, problem }, files) {
    if (this.#chat.left) return;
    const stopped = t('answer.unconfirmed');
    const why = { 'signed-out': null, stopped };
    this.#composer.restore(message, reason in why ? why[reason] : wordsFor(status, problem, files), files);
  }
}

// A refused file is named as a field of the request; the user knows it by its name.
function wordsFor(status, problem, files) {
  for (const { field, detail } of problem?.errors ?? []) {
    const file = files[/^attachments\[(\d+)\]$/.exec(field)?.[1]];
    if (file) return `${file.filename}: ${detail}`;
  }
  return explainRefusal(status, problem);
}
