/** The branch of a conversation that is shown. A conversation is a tree: a new answer or wording adds a sibling. */

export class Branches {
  #messages = new Map(); // id → message
  #children = new Map(); // parent id or null → ids, oldest first
  #newest = new Map(); // parent id or null → the child towards the newest message
  #chosen = new Map(); // parent id or null → the child that is shown; the newest when nothing was chosen

  /** Replace all messages; they are in order. */
  update(messages) {
    this.#messages = new Map();
    this.#children = new Map();
    for (const message of messages) {
      this.#messages.set(message.message_id, message);
      this.#siblings(message.parent_id).push(message.message_id);
    }
    this.#newest = this.#newestBranch();
    for (const [parent, child] of this.#chosen)
      if (!this.#siblings(parent).includes(child)) this.#chosen.delete(parent);
  }

  has(id) {
    return this.#messages.has(id);
  }

  /** The messages that are shown, from the first to the last. */
  get path() {
    const path = [];
    for (let id = this.#shown(null); id; id = this.#shown(id)) path.push(this.#messages.get(id));
    return path;
  }

  /** The place of a message among its siblings: {index, count}. */
  place(id) {
    const siblings = this.#siblings(this.#messages.get(id)?.parent_id);
    return { index: siblings.indexOf(id), count: siblings.length };
  }

  /** Show another sibling, `step` away. */
  turn(id, step) {
    const parent = this.#messages.get(id)?.parent_id ?? null;
    const siblings = this.#siblings(parent);
    const next = siblings[siblings.indexOf(id) + step];
    if (next) this.#chosen.set(parent, next);
  }

  /** Show the branch of a message. */
  reveal(id) {
    for (let at = this.#messages.get(id); at; at = this.#messages.get(at.parent_id))
      this.#chosen.set(at.parent_id ?? null, at.message_id);
  }

  /** Show the newest branch again. */
  forget() {
    this.#chosen.clear();
  }

  /** The message that a new message must name as its parent, when an older branch is shown; otherwise undefined. */
  get parentToName() {
    return this.#chosen.size ? this.path.at(-1)?.message_id : undefined;
  }

  #siblings(parent) {
    const key = parent ?? null;
    if (!this.#children.has(key)) this.#children.set(key, []);
    return this.#children.get(key);
  }

  // Without a choice, the branch of the newest message is shown.
  #shown(parent) {
    return this.#chosen.get(parent) ?? this.#newest.get(parent) ?? this.#siblings(parent).at(-1);
  }

  #newestBranch() {
    const branch = new Map();
    let id = [...this.#messages.keys()].at(-1);
    for (; id; id = this.#messages.get(id)?.parent_id) branch.set(this.#messages.get(id).parent_id ?? null, id);
    return branch;
  }
}
