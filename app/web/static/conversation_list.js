/** The list of conversations on the screen: sections by age, and a row with a menu for each conversation. */

import { h, icon, iconButton, place } from './dom.js';
import { openMenu } from './overlay.js';
import { marked } from './search.js';

const RELEASES = ['pointerup', 'pointercancel'];
const CLICK_DELAY = 80; // milliseconds; the click of a touch screen follows the release of the finger
const LONGEST_HOLD = 10_000; // milliseconds; a release may happen where no page receives it

export class ConversationList {
  node = h('nav', {
    class: 'list',
    'aria-label': 'Conversations',
    onkeydown: (event) => this.#moveFocus(event),
    onpointerdown: () => this.#hold(),
  });
  #rows = new Map(); // key of an entry → Row
  #actions;
  #current = null; // the id of the open conversation
  #held = false; // a pointer is pressed on the list
  #holdTimer = null;
  #postponed = null; // sections and footer to draw after the release

  /** @param {(id: string, name: string) => object[]} actions the menu of a conversation, as `openMenu` takes it */
  constructor(actions) {
    this.#actions = actions;
    const released = () => this.#held && this.#releaseIn(CLICK_DELAY);
    for (const type of RELEASES) addEventListener(type, released, true);
  }

  /**
   * Draw `sections` ({name, entries}; name null: without a heading) and the nodes of `footer` below them. An entry is
   * {key, id, name, path, active, hit}; `hit` is what a search found in the conversation, or null.
   */
  draw(sections, footer = []) {
    if (this.#held) this.#postponed = [sections, footer];
    else this.#place(sections, footer);
  }

  /** Show a note or a placeholder in place of rows. */
  drawNote(...nodes) {
    this.draw([], nodes);
  }

  /** Mark the open conversation. */
  markCurrent(id) {
    this.#current = id;
    for (const row of this.#rows.values()) row.markCurrent(id);
  }

  /** Let the first row appear slowly. */
  emphasizeFirst() {
    this.node.querySelector('li')?.classList.add('fresh');
  }

  // A row keeps its node as long as it is shown, so focus, hover and a half-finished click stay on it.
  #place(sections, footer) {
    const focused = this.node.contains(document.activeElement) ? document.activeElement : null;
    const before = this.#rows;
    this.#rows = new Map();
    const rowOf = (entry) => {
      const row = before.get(entry.key) ?? new Row(this.#actions);
      row.update(entry);
      row.markCurrent(this.#current);
      this.#rows.set(entry.key, row);
      return row.node;
    };
    const old = new Map([...this.node.querySelectorAll('ul')].map((list) => [list.dataset.name, list]));
    const nodes = sections.flatMap(({ name, entries }) => {
      const list = old.get(name ?? '') ?? h('ul', {});
      list.dataset.name = name ?? '';
      place(list, entries.map(rowOf));
      const heading = list.previousElementSibling?.matches('h2') ? list.previousElementSibling : h('h2', {}, name);
      return name === null ? [list] : [heading, list];
    });
    place(this.node, [...nodes, ...footer]);
    // A row that changed its place has lost the focus.
    if (focused?.isConnected && document.activeElement !== focused) focused.focus();
  }

  // Nothing moves under a pressed pointer: a browser sends no click when the node was moved or replaced meanwhile.
  #hold() {
    this.#held = true;
    this.#releaseIn(LONGEST_HOLD);
  }

  #releaseIn(delay) {
    clearTimeout(this.#holdTimer);
    this.#holdTimer = setTimeout(() => this.#release(), delay);
  }

  #release() {
    const postponed = this.#postponed;
    this.#held = false;
    this.#postponed = null;
    if (postponed) this.#place(...postponed);
  }

  #moveFocus(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.target.tagName !== 'A') return;
    event.preventDefault();
    const links = [...this.node.querySelectorAll('a')];
    links[links.indexOf(event.target) + step]?.focus();
  }
}

class Row {
  node;
  #link;
  #menu;
  #shown = null; // the entry

  constructor(actions) {
    this.#link = h('a', {});
    const open = () => openMenu(this.#menu, actions(this.#shown.id, this.#shown.name));
    this.#menu = iconButton('more', 'Actions', open, { 'aria-haspopup': 'menu', 'aria-expanded': 'false' });
    const settle = () => this.node.classList.remove('fresh');
    this.node = h('li', { onanimationend: settle }, this.#link, this.#menu);
  }

  update(entry) {
    const unchanged = JSON.stringify(entry) === JSON.stringify(this.#shown);
    this.#shown = entry;
    if (!unchanged) this.#draw(entry);
  }

  #draw({ id, name, path, active, hit }) {
    const inMessage = Boolean(hit?.message_id);
    this.#link.href = inMessage ? `${path}#${hit.message_id}` : path;
    this.#link.dataset.id = id;
    this.#link.title = name;
    this.#link.replaceChildren(
      h('span', { class: 'name', dir: 'auto' }, hit && !inMessage ? marked(hit) : name),
      inMessage ? h('span', { class: 'snippet', dir: 'auto' }, marked(hit)) : '',
      active ? activeSign() : '',
    );
    const label = `Actions for ${name}`;
    this.#menu.setAttribute('aria-label', label);
    this.#menu.title = label;
  }

  markCurrent(id) {
    if (id === this.#shown.id) this.#link.setAttribute('aria-current', 'page');
    else this.#link.removeAttribute('aria-current');
  }
}

function activeSign() {
  const words = h('span', { class: 'sr-only' }, 'answering');
  return h('span', { class: 'active', title: 'An answer is being written' }, icon('flow'), words);
}
