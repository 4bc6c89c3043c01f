/** The model of a chat: the choice in its box, its name in the address, and a note when there is no such model. */

import * as api from './api.js';
import { announce, h } from './dom.js';
import { ModelNote } from './model_note.js';
import { modelPicker } from './models.js';
import { conversationPath } from './router.js';
import { t } from './texts.js';

export class ChatModel {
  /** The button with the name. */
  node = h('div', { class: 'chosen-model' });
  #id;
  #name;
  #app;
  #note = new ModelNote();
  #onMove;
  #onUse;
  #onProblem;

  /**
   * `id` and `name`: those of the address; null for a new chat, and for the default model. `app`: for its models, its
   * router and its list. `onMove(name)`: a new chat moves to the address of another model.
   * `onUse()`: another model answers from now on.
   */
  constructor({ id, name, app, onMove, onUse, onProblem }) {
    this.#id = id;
    this.#name = name;
    this.#app = app;
    this.#onMove = onMove;
    this.#onUse = onUse;
    this.#onProblem = onProblem;
    if (id === null) this.#show();
  }

  /** The name of the model; null for the default one. */
  get name() {
    return this.#name;
  }

  /** The note that stands over the box. */
  get note() {
    return this.#note.node;
  }

  /** The chat has become the conversation `id`. */
  settle(id) {
    this.#id = id;
    this.#show();
    const { models, router } = this.#app;
    router.rename(conversationPath(id, models.items.length ? models.chosen(this.#name) : this.#name));
  }

  /** The conversation as the server has it is here. Another page may have chosen another model. */
  load({ model }) {
    const named = this.#name;
    this.use(model);
    if (named !== model && this.#isMissing(named)) this.#note.show('address', named);
  }

  /** The conversation uses another model from now on. */
  use(name) {
    this.#name = name;
    this.#show();
    this.#rename();
    this.#onUse();
  }

  async #choose({ name, label, isDefault }) {
    const chosen = isDefault ? null : name;
    if (this.#id === null) {
      this.#onMove(chosen);
      return;
    }
    try {
      await api.change(this.#id, { model: chosen });
    } catch (problem) {
      this.#onProblem(problem.explanation ?? problem.message);
      return;
    }
    this.use(chosen);
    this.#app.sidebar.touch(this.#id, { model: chosen });
    announce(t('model.answers_now', { label }));
  }

  #show() {
    const hadFocus = this.node.contains(document.activeElement);
    const picker = modelPicker(this.#app.models, this.#name, (item) => this.#choose(item));
    this.node.replaceChildren(picker ?? '');
    // The button that had the focus is gone.
    if (hadFocus) picker?.focus();
    if (this.#isMissing(this.#name)) this.#tellMissing();
    else this.#note.show(null);
  }

  #tellMissing() {
    const { byDefault } = this.#app.models;
    const instead = byDefault && { label: byDefault.label, action: () => this.#choose(byDefault) };
    this.#note.show(this.#id === null ? 'chat' : 'conversation', this.#name, instead);
  }

  // Before the list is loaded, nothing is known to be missing.
  #isMissing(name) {
    return Boolean(name) && this.#app.models.items.length > 0 && !this.#app.models.find(name);
  }

  // The address names the model of the conversation, unless it is the default one. Without the list it stays.
  #rename() {
    const { models, router } = this.#app;
    if (models.items.length === 0) return;
    const path = conversationPath(this.#id, models.chosen(this.#name));
    if (path !== location.pathname) router.rename(path + location.hash);
  }
}
