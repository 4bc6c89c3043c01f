/** A note over the box: the model of this chat or of its address is not among the models of the service. */

import { h, icon } from './dom.js';

const WORDS = {
  chat: (name) => `This service lists no model named “${name}”. A message to it may be refused.`,
  conversation: (name) => `The model “${name}” of this conversation is not offered any more. Choose another one.`,
  address: (name) => `The address names a model “${name}”, which this service does not list.`,
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
  return h('button', { type: 'button', class: 'link', onclick: action }, `Use ${label}`);
}
