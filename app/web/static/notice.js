/** A note over an answer that goes on after an interruption. It stays in view until it is dismissed. */

import { h, icon, iconButton } from './dom.js';
import { t } from './texts.js';

export class Notice {
  node = h('div', { class: 'notice', role: 'note', hidden: true });

  show(text) {
    const close = iconButton('close', t('common.dismiss'), () => (this.node.hidden = true));
    this.node.replaceChildren(icon('refresh'), h('p', {}, text), close);
    this.node.hidden = false;
  }
}
