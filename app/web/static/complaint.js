/** A problem above the box for a message: a sentence that is announced, and the server's own words, folded. */

import { h } from './dom.js';
import { asText } from './explanations.js';
import { folded } from './folded.js';

export class Complaint {
  node = h('div', { class: 'problem', hidden: true });

  /** Show a text, or an explanation of explanations.js; null hides it. */
  show(why) {
    this.node.hidden = !why;
    if (!why) return;
    const told = typeof why === 'string' ? { says: why } : why;
    // A region that is filled after it is shown is announced.
    const words = h('p', { role: 'alert' });
    this.node.replaceChildren(words, folded(told) ?? '');
    words.textContent = asText(told);
  }
}
