/**
 * The title of the tab: the name of what is shown, a sign while an answer is written, and a count of answers that the
 * user has not seen.
 *
 * The browser keeps titles in its history. A user who does not want names of conversations there switches them off; a
 * temporary chat never has its name in the title.
 */

import './list_signs.js';
import { t } from './texts.js';

const CHOICE = 'unbroken.tab-names';
const SERVICE = 'Unbroken';

export class TabTitle {
  #name = '';
  #general = '';
  #busy = false;
  #count = 0;

  /** Show `name`, or `general` for a user who wants no names in titles. */
  show(name, general = name) {
    [this.#name, this.#general] = [name, general];
    this.#draw();
  }

  /** Mark the tab while an answer is written. */
  set busy(busy) {
    this.#busy = busy;
    this.#draw();
  }

  /** The number of conversations with an answer that the user has not seen. */
  set count(count) {
    this.#count = count;
    this.#draw();
  }

  /** An entry of a menu, as `openMenu` takes it, with which a user switches the names on and off. */
  choice() {
    const toggle = () => {
      if (namesShown()) localStorage.setItem(CHOICE, 'hidden');
      else localStorage.removeItem(CHOICE);
      this.#draw();
    };
    return { label: t('settings.tab_names'), icon: 'tab', checked: namesShown(), action: toggle };
  }

  #draw() {
    const name = namesShown() ? this.#name : this.#general;
    const count = this.#count ? `(${this.#count}) ` : '';
    document.title = `${count}${this.#busy ? '● ' : ''}${name ? `${name} · ` : ''}${SERVICE}`;
  }
}

const namesShown = () => localStorage.getItem(CHOICE) !== 'hidden';
