/** A note over the box: the model of this chat or of its address is not among the models of the service. */

import { h, icon } from './dom.js';
import { t } from './texts.js';

const WORDS = {
  chat: (name) => t('model.not_listed', { name }),
  conversation: (name) => t('model.gone', { name }),
  address: (name) => t('model.not_known', { name }),
};

export class ModelNote {
  node = h('div', { class: 'model-note', role: 'status', hidden: true });

  /**
   * Show what is wrong with the model `name` of `place` (chat, conversation or address), and a button for the model
   * `instead`, {label, action}, if there is one. Null hides the note.
   */
  show(place, name = '', instead = null) {
    this.node.hidden = place === null;
    if (place === null) return;
    this.node.replaceChildren(icon('alert'), h('p', {}, WORDS[place](name)), instead ? choice(instead) : '');
  }
}

function choice({ label, action }) {
  return h('button', { type: 'button', class: 'link', onclick: action }, t('model.use', { label }));
}
