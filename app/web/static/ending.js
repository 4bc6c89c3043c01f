/** The part under an answer that tells how it ended: a sentence, what can be done, and the server's words, folded. */

import { h, icon } from './dom.js';
import { folded } from './folded.js';
import { t } from './texts.js';

const LABELS = {
  continue: t('ending.continue'),
  again: t('common.again'),
  model: t('ending.model'),
  new: t('common.new_chat'),
};
const SIGNS = { stopped: 'stop', failed: 'alert', held: 'alert', cut: 'cut' };

export class Ending {
  node = h('div', { class: 'ending', hidden: true });

  /** Show an end of endings.js; null hides it. `actions`: a function of the pressed button for each offer. */
  show(ending, actions) {
    this.node.hidden = ending === null;
    if (ending === null) return;
    const { kind, says, advice, offers } = ending;
    this.node.className = `ending ${kind}`;
    const buttons = offers.filter((name) => actions[name]).map((name) => offer(name, actions[name]));
    this.node.replaceChildren(
      icon(SIGNS[kind]),
      h(
        'div',
        { class: 'told' },
        h('p', {}, says),
        advice && h('p', { class: 'advice' }, advice),
        buttons.length > 0 && h('div', { class: 'offers' }, buttons),
        folded(ending),
      ),
    );
  }
}

function offer(name, action) {
  const menu = name === 'model' ? { 'aria-haspopup': 'menu', 'aria-expanded': 'false' } : {};
  const button = h('button', { type: 'button', ...menu, onclick: () => action(button) }, LABELS[name]);
  return button;
}
