/**
 * Notifications of the system about answers that have ended. Only for a user who has allowed them, and only while no tab
 * of this browser shows the page: someone who looks at the page sees the mark in the list.
 */

import { notifyTabs, listen } from './session.js';

const REPLY = 400; // milliseconds that a visible tab has to answer

export class Notifier {
  #open;
  #shown = new Map(); // id of a conversation → Notification
  #isSeen = false;

  /** `open(id)`: the user has pressed a notification. */
  constructor(open) {
    this.#open = open;
    listen(({ type }) => {
      if (type === 'is-seen?' && !document.hidden) notifyTabs({ type: 'is-seen' });
      else if (type === 'is-seen') this.#isSeen = true;
    });
  }

  /** Notify of an answer, unless another tab is visible. All hidden tabs notify; the tag makes one notification of them. */
  async notify({ id, words, name }) {
    if (!isAllowed()) return;
    this.#isSeen = false;
    notifyTabs({ type: 'is-seen?' });
    await new Promise((resolve) => setTimeout(resolve, REPLY));
    if (this.#isSeen || !document.hidden) return;
    const shown = new Notification(words, { body: name, tag: `unbroken ${id}`, icon: '/static/icon.svg' });
    shown.onclick = () => {
      shown.close();
      window.focus();
      this.#open(id);
    };
    this.#shown.set(id, shown);
  }

  close(id) {
    this.#shown.get(id)?.close();
    this.#shown.delete(id);
  }

  closeAll() {
    for (const id of this.#shown.keys()) this.close(id);
  }
}

/** Whether this page may show notifications: a secure address, and a user who has said yes. */
export const isAllowed = () => isPossible() && Notification.permission === 'granted';

/** Whether the user has not been asked yet, and can be. */
export const isOpen = () => isPossible() && Notification.permission === 'default';

/** True when this browser can show notifications of this address. */
export const isPossible = () => isSecureContext && 'Notification' in globalThis;
