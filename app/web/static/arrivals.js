/** Answers that end while the user looks at something else: counted in the title of the tab, and notified of. */

import { Notifier } from './notifier.js';
import { t } from './texts.js';

const ENDED = { completed: t('arrival.completed'), error: t('arrival.error') };

export class Arrivals {
  #unseen = new Set(); // ids of conversations
  #notifier;
  #current;
  #nameOf;
  #onCount;

  /**
   * `current()`: the id of the conversation on the screen, or null. `nameOf(id)`: its name. `open(id)`: show it.
   * `onCount(count)`: so many conversations have an answer that the user has not seen.
   */
  constructor({ current, nameOf, open, onCount }) {
    this.#current = current;
    this.#nameOf = nameOf;
    this.#onCount = onCount;
    this.#notifier = new Notifier(open);
    document.addEventListener('visibilitychange', () => this.look());
  }

  /** Apply an event of the feed. */
  apply({ type, role, status, conversation_id: id, unread }) {
    if (type === 'conversation.deleted' || (type === 'conversation.updated' && unread === false)) this.#forget(id);
    // An answer that the user has stopped is no news.
    if (type !== 'message.updated' || role !== 'assistant' || !ENDED[status]) return;
    if (id === this.#current() && !document.hidden) return;
    this.#unseen.add(id);
    this.#onCount(this.#unseen.size);
    if (document.hidden) this.#notifier.notify({ id, words: ENDED[status], name: this.#nameOf(id) });
  }

  /** The user looks at the conversation on the screen, if the tab is visible. */
  look() {
    if (!document.hidden) this.#forget(this.#current());
  }

  /** Forget everything and close what is shown: the user is signed out. */
  close() {
    this.#unseen.clear();
    this.#notifier.closeAll();
  }

  #forget(id) {
    this.#notifier.close(id);
    if (this.#unseen.delete(id)) this.#onCount(this.#unseen.size);
  }
}
