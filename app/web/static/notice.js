/** A note over an answer that goes on after an interruption. It stays in view until it is dismissed. */

import { h, icon, iconButton } from './dom.js';

export class Notice {
  node = h('div', { class: 'notice', role: 'note', hidden: true });

  show(text) {
    const close = iconButton('close', 'Dismiss', () => (this.node.hidden = true));
    this.node.replaceChildren(icon('refresh'), h('p', {}, text), close);
    this.node.hidden = false;
  }
}
