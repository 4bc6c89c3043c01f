/** The list of conversations on the screen: sections by age, and a row with a menu for each conversation. */

import { Row } from './conversation_row.js';
import { h, place } from './dom.js';
import { forward, t } from './texts.js';

const RELEASES = ['pointerup', 'pointercancel'];
const CLICK_DELAY = 80; // milliseconds; the click of a touch screen follows the release of the finger
const LONGEST_HOLD = 10_000; // milliseconds; a release may happen where no page receives it
// The action of a key, while a row has the focus.
const KEYS = { F2: 'rename', Delete: 'delete', Backspace: 'delete', p: 'pin', e: 'archive', t: 'tags' };

export class ConversationList {
  node = h('nav', {
    class: 'list',
    'aria-label': t('list.name'),
    onkeydown: (event) => this.#key(event),
    onfocusin: () => this.#markReachable(),
    onpointerdown: () => this.#hold(),
  });
  #rows = new Map(); // key of an entry → Row
  #actions;
  #act;
  #current = null; // the id of the open conversation
  #held = false; // a pointer is pressed on the list
  #holdTimer = null;
  #postponed = null; // sections and footer to draw after the release

  /**
   * `actions(id, name)`: the menu of a conversation, as `openMenu` takes it. `act(action, id, name)` does what a key
   * stands for: rename, delete, pin, archive, tags.
   */
  constructor({ actions, act }) {
    this.#actions = actions;
    this.#act = act;
    const released = () => this.#held && this.#releaseIn(CLICK_DELAY);
    for (const type of RELEASES) addEventListener(type, released, true);
  }

  /**
   * Draw `sections` ({name, entries}; name null: without a heading) and the nodes of `footer` below them. An entry is
   * {key, id, name, path, active, unread, time, preview, tags, hit, follows}; `hit` is what a search found in the
   * conversation, or null, and `follows` is true when the row above shows the conversation's name.
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
    this.#markReachable();
  }

  /** Let a row appear slowly. */
  emphasize(key) {
    this.#rows.get(key)?.node.classList.add('fresh');
  }

  focusFirst() {
    this.#list[0]?.link.focus();
  }

  // A row keeps its node as long as it is shown, so focus, hover and a half-finished click stay on it.
  #place(sections, footer) {
    const focused = this.node.contains(document.activeElement) ? document.activeElement : null;
    const at = this.#list.findIndex((row) => row.focused);
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
    this.#markReachable();
    // A row that changed its place has lost the focus. The focus of a row that is gone goes to the next one.
    if (focused?.isConnected && document.activeElement !== focused) focused.focus();
    else if (focused && !focused.isConnected && at >= 0)
      this.#list.at(Math.min(at, this.#list.length - 1))?.link.focus();
  }

  get #list() {
    return [...this.#rows.values()];
  }

  // Tab reaches one row: the one with the focus, the open conversation, or the first.
  #markReachable() {
    const rows = this.#list;
    const one = rows.find((row) => row.focused) ?? rows.find(({ entry }) => entry.id === this.#current) ?? rows[0];
    for (const row of rows) row.reachable = row === one;
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

  #key(event) {
    const rows = this.#list;
    const at = rows.findIndex((row) => row.focused);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const { entry, link } = rows[at];
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    const action = event.target === link && KEYS[event.key];
    if (to !== undefined) rows[Math.max(0, Math.min(to, rows.length - 1))].link.focus();
    else if (event.key === (forward > 0 ? 'ArrowRight' : 'ArrowLeft')) rows[at].focusMenu();
    else if (event.key === (forward > 0 ? 'ArrowLeft' : 'ArrowRight')) link.focus();
    else if (action) this.#act(action, entry.id, entry.name);
    else return;
    event.preventDefault();
  }
}
