/** The head of a chat: its name with the menu, the switch for a temporary chat, and the banner of one. */

import { h, icon } from './dom.js';
import './list_signs.js';
import { openMenu } from './overlay.js';
import { t } from './texts.js';

const TEMPORARY = t('chat.temporary');
const BANNER = t('chat.temporary_about');

export class ChatHead {
  node;
  /** What a temporary chat is, over its messages. */
  banner = h('p', { class: 'banner', role: 'note', hidden: true }, icon('temporary'), h('span', {}, BANNER));
  #title = h('span', { dir: 'auto' });
  #heading;
  #switch;

  /**
   * `before` and `after`: nodes at both ends. `menu()`: the menu of the conversation, as `openMenu` takes it.
   * `temporary`: whether a new chat is one; null for a conversation. `onSwitch()`: the user wants the other kind.
   */
  constructor({ before, after, menu, temporary, onSwitch }) {
    const attributes = { type: 'button', class: 'title', 'aria-haspopup': 'menu', 'aria-expanded': 'false' };
    const button = h(
      'button',
      { ...attributes, onclick: () => openMenu(button, menu()) },
      this.#title,
      icon('chevron'),
    );
    this.#heading = h('h1', { hidden: true }, button);
    this.#switch = temporary === null ? null : temporarySwitch(temporary, onSwitch);
    this.node = h('header', {}, before, this.#heading, h('div', { class: 'spring' }), after, this.#switch);
    this.banner.hidden = !temporary;
  }

  /** The name as it is shown. */
  get title() {
    return this.#title.textContent;
  }

  /** Show the name of a conversation, which is not a new chat any more. */
  name(title, temporary) {
    this.#title.textContent = temporary ? TEMPORARY : title;
    this.#heading.hidden = false;
    this.#switch?.remove();
    this.banner.hidden = !temporary;
  }
}

function temporarySwitch(on, onSwitch) {
  const attributes = { type: 'button', class: 'temporary', 'aria-pressed': String(on), onclick: onSwitch };
  return h('button', attributes, icon('temporary'), h('span', {}, TEMPORARY));
}
