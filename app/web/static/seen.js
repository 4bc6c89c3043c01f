/** Tells the server which conversations the user has seen: an answer that ends elsewhere is unread until then. */

import { markSeen } from './conversations_api.js';

export class Seen {
  #sidebar;
  #current; // () → the id of the conversation on the screen, or null

  /** `current()`: the id of the conversation that is shown, or null. */
  constructor(sidebar, current) {
    this.#sidebar = sidebar;
    this.#current = current;
    document.addEventListener('visibilitychange', () => this.look());
  }

  /** The user looks at the conversation on the screen, if the tab is visible. `unread`: whether something is new there. */
  look(unread = this.#sidebar.get(this.#current())?.unread) {
    const id = this.#current();
    if (document.hidden || !id || !unread) return;
    this.#sidebar.touch(id, { unread: false });
    // A mark that is lost is only a mark: the next look sets it.
    markSeen(id).catch(() => this.#sidebar.touch(id, { unread: true }));
  }
}
