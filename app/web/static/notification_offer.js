/**
 * The offer to be notified, over the box: made once, after an answer for which the user had to wait long. The browser
 * asks its own question only when the user presses the button here.
 */

import { announce, h, icon, iconButton } from './dom.js';
import { isOpen } from './notifier.js';
import { userId } from './session.js';
import { t } from './texts.js';

const KEPT = 'unbroken.notifications'; // in localStorage: the offer was made
const LONG = 20_000; // milliseconds

export class NotificationOffer {
  node = h('div', { class: 'offer', role: 'group', 'aria-label': t('notifications.name'), hidden: true });

  /** An answer has ended after so many milliseconds. */
  answered(milliseconds) {
    if (milliseconds < LONG || !isOpen() || !userId() || localStorage.getItem(KEPT)) return;
    const ask = async () => {
      this.#close();
      const reply = await Notification.requestPermission();
      announce(reply === 'granted' ? t('notifications.on') : t('notifications.off'));
    };
    this.node.replaceChildren(
      icon('bell'),
      h('p', {}, t('notifications.offer')),
      h('button', { type: 'button', class: 'link', onclick: ask }, t('notifications.notify')),
      iconButton('close', t('notifications.not_now'), () => this.#close()),
    );
    this.node.hidden = false;
  }

  #close() {
    this.node.hidden = true;
    keep();
  }
}

function keep() {
  try {
    localStorage.setItem(KEPT, 'asked');
  } catch {
    // Storage is full or forbidden: the offer is made again after the next long answer.
  }
}
