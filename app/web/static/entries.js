/** The messages of a conversation as they stand in the thread: questions and answers, in the order of one branch. */

import { Branches } from './branches.js';
import { Answer } from './answer.js';
import { Question } from './question.js';

export class Entries {
  list = []; // Question and Answer as shown, in order

  #messages = new Map(); // id → message, as the server sent it
  #branches = new Branches();
  #thread;
  #following;
  #make;
  #onArranged;

  /**
   * `make`: {question(message), answer(message)}, which make an entry. `onArranged()` is called when the entries have
   * changed. `following`: the answers that are being read.
   */
  constructor({ thread, following, make, onArranged }) {
    this.#thread = thread;
    this.#following = following;
    this.#make = make;
    this.#onArranged = onArranged;
  }

  get empty() {
    return this.list.length === 0;
  }

  /** The message that a new message must name as its parent, because an older branch is shown; or undefined. */
  get parentToName() {
    return this.#branches.parentToName;
  }

  has(id) {
    return this.#messages.has(id);
  }

  question(clientId) {
    return this.list.find((entry) => entry instanceof Question && entry.clientId === clientId);
  }

  /** The newest question that the server has; undefined without one. */
  get lastQuestion() {
    return this.list.findLast((entry) => entry instanceof Question && entry.id);
  }

  /** The first answer that is being written and read. */
  get live() {
    return this.list.find((entry) => entry instanceof Answer && entry.live && this.#following.has(entry));
  }

  /** Bring the thread to the state of the server. Entries that stand already stay. */
  merge(messages) {
    for (const message of messages) this.#messages.set(message.message_id, message);
    this.#spread();
  }

  /** Delete a message. */
  delete(id) {
    if (this.#messages.delete(id)) this.#spread();
  }

  /** Show the newest branch again. */
  showNewest() {
    this.#branches.forget();
  }

  /** Show the branch of a message. Returns its entry, or undefined when there is none. */
  reveal(id) {
    if (!this.#messages.has(id)) return undefined;
    this.#branches.reveal(id);
    this.#arrange();
    return this.list.find((each) => each.id === id);
  }

  append(entry) {
    this.list.push(entry);
    this.#place();
    return entry;
  }

  drop(...entries) {
    this.list = this.list.filter((entry) => !entries.includes(entry));
    for (const entry of entries) entry.node.remove();
  }

  #spread() {
    const shown = [...this.#messages.values()].filter(({ role }) => role === 'user' || role === 'assistant');
    this.#branches.update(shown.sort((one, other) => one.seq - other.seq));
    this.#arrange();
  }

  #arrange() {
    const path = this.#branches.path;
    const unsaved = this.list.filter((entry) => !this.#branches.has(entry.id) && this.#isPending(entry));
    // The newest entry is made first: a reader looks at the end of the thread.
    const arranged = path
      .toReversed()
      .map((message) => this.#entryFor(message))
      .reverse();
    const kept = [...arranged, ...unsaved.filter((entry) => !arranged.includes(entry))];
    for (const entry of this.list) if (!kept.includes(entry)) this.#discard(entry);
    this.list = kept;
    this.#place();
    for (const entry of kept) {
      if (entry.id) entry.showVariants(this.#branches.place(entry.id), (step) => this.#turn(entry, step));
      if (entry instanceof Answer && entry.live && entry.generationId) this.#following.follow(entry);
    }
  }

  #place() {
    this.#thread.place(this.list.map(({ node }) => node));
    this.#onArranged();
  }

  // An entry of this page that the server may not list yet.
  #isPending(entry) {
    const next = this.list[this.list.indexOf(entry) + 1];
    return entry.id === null || this.#following.has(entry) || this.#following.has(next);
  }

  #entryFor(message) {
    const known = this.list.find((entry) => entry.id === message.message_id) ?? this.#optimistic(message);
    if (!known) return message.role === 'user' ? this.#make.question(message) : this.#make.answer(message);
    if (known instanceof Question) known.acknowledge(message.message_id);
    else if (!this.#following.has(known) && known.status !== message.status) return this.#make.answer(message);
    else known.learn(message);
    return known;
  }

  // An entry that was shown before the server gave the message its id.
  #optimistic({ role, client_msg_id: clientId, parent_id: parent, message_id: id, generation_id: generation }) {
    if (role === 'user') return clientId && this.question(clientId);
    const answer = this.list[this.list.findIndex((entry) => entry.id === parent) + 1];
    if (!(answer instanceof Answer) || answer.id !== null) return null;
    answer.id = id;
    answer.generationId = generation;
    return answer;
  }

  #discard(entry) {
    this.#following.stop(entry);
    entry.node.remove();
  }

  #turn(entry, step) {
    this.#branches.turn(entry.id, step);
    this.#arrange();
  }
}
