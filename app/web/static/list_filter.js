/** The filter of the list: a button with a menu, and a chip for each part of the filter that is set. */

import { announce, h, icon, iconButton } from './dom.js';
import './list_signs.js';
import { EVERYTHING } from './listing.js';
import { openMenu } from './overlay.js';
import { t } from './texts.js';

export class ListFilter {
  button = iconButton('filter', t('filter.button'), () => this.#open(), {
    'aria-haspopup': 'menu',
    'aria-expanded': 'false',
  });
  chips = h('div', { class: 'chips', role: 'group', 'aria-label': t('filter.name'), hidden: true });
  #filter = EVERYTHING;
  #tags;
  #models;
  #onChange;

  /** `tags()`: the tags to choose from; `models()`: the models, as models.js has them. `onChange(filter)`. */
  constructor({ tags, models, onChange }) {
    this.#tags = tags;
    this.#models = models;
    this.#onChange = onChange;
  }

  /** Set parts of the filter; the others stay. */
  set(parts) {
    this.#filter = { ...this.#filter, ...parts };
    this.#draw();
    this.#onChange(this.#filter);
  }

  #open() {
    const { archived, tag, model } = this.#filter;
    const choice = (label, checked, parts) => ({ label, checked, action: () => this.set(parts) });
    const none = !archived && tag === null && model === null;
    const { items } = this.#models();
    const groups = [
      [choice(t('filter.all'), none, EVERYTHING), choice(t('actions.archived'), archived, { archived: !archived })],
      this.#tags().map((name) => choice(`#${name}`, name === tag, { tag: name === tag ? null : name })),
      items.length < 2
        ? []
        : items.map(({ name, label }) => choice(label, name === model, { model: name === model ? null : name })),
    ];
    const entries = groups.filter((group) => group.length).flatMap((group) => [null, ...group]);
    openMenu(this.button, entries.slice(1), { label: t('filter.button') });
  }

  #draw() {
    const { archived, tag, model } = this.#filter;
    const chips = [
      archived && this.#chip(t('actions.archived'), { archived: false }),
      tag !== null && this.#chip(`#${tag}`, { tag: null }),
      model !== null && this.#chip(this.#models().labelOf(model), { model: null }),
    ].filter(Boolean);
    this.chips.replaceChildren(...chips);
    this.chips.hidden = chips.length === 0;
    this.button.classList.toggle('done', chips.length > 0);
  }

  #chip(words, parts) {
    const label = t('filter.remove', { words });
    const remove = () => {
      this.set(parts);
      announce(t('filter.removed'));
      (this.chips.querySelector('button') ?? this.button).focus();
    };
    const attributes = { type: 'button', class: 'chip', 'aria-label': label, title: label, onclick: remove };
    return h('button', attributes, h('span', { dir: 'auto' }, words), icon('close'));
  }
}
