/** The diagram of a code block: an image in the place of the code, and a button that changes between the two. */

import { draw, MOST_SOURCE } from './diagram_drawing.js';
import { h } from './dom.js';
import { t } from './texts.js';

const MOST_NAME = 200; // characters of a title that screen readers are given
const TITLE = /^[ \t]*(?:accTitle[ \t]*:|title:?[ \t])[ \t]*(\S.*)$/im;
const NIGHT = matchMedia('(prefers-color-scheme: dark)');

const shown = new WeakMap(); // the figure of a block → its Diagram

/** Draw `source` and show it in `figure`, the node of a code block. The code stays where that fails. */
export function showDiagram(figure, source) {
  if (!shown.has(figure)) shown.set(figure, new Diagram(figure));
  shown.get(figure).show(source);
}

const isDark = () => (document.documentElement.dataset.theme ?? (NIGHT.matches ? 'dark' : 'light')) === 'dark';

class Diagram {
  #figure;
  #source = '';
  #dark = null; // the theme of the last drawing
  #image = h('img', { draggable: 'false' });
  #view = h('div', { class: 'diagram', tabindex: '0', role: 'region', 'aria-label': t('diagram.name') }, this.#image);
  #button = h('button', { type: 'button', class: 'diagram-switch', onclick: () => this.#turn() });
  #note = h('p', { class: 'diagram-note', role: 'status' });

  constructor(figure) {
    this.#figure = figure;
  }

  async show(source) {
    const dark = isDark();
    [this.#source, this.#dark] = [source, dark];
    this.#note.remove();
    if (source.length > MOST_SOURCE) {
      this.#fail(t('diagram.too_long', { limit: MOST_SOURCE }));
      return;
    }
    const drawn = await draw(source, dark);
    // Another source or theme has been shown in the meantime.
    if (this.#source !== source || this.#dark !== dark) return;
    if (drawn) this.#put(drawn, dark);
    // A diagram of the other theme is better than none.
    else if (!this.#image.isConnected) this.#fail(t('diagram.not_drawn'));
    // The theme has changed while there was no image to draw again.
    if (drawn && dark !== isDark()) this.refresh();
  }

  /** Draw again where the theme of the page has changed. */
  refresh() {
    if (this.#image.isConnected && this.#dark !== isDark()) this.show(this.#source);
  }

  // An image runs no script, follows no link and loads nothing.
  #put({ svg, width, height }, dark) {
    this.#image.alt = (TITLE.exec(this.#source)?.[1] ?? t('diagram.name')).slice(0, MOST_NAME);
    this.#image.width = width;
    this.#image.height = height;
    this.#image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
    this.#view.classList.toggle('dark', dark);
    if (this.#view.isConnected) return;
    this.#figure.append(this.#view);
    this.#figure.querySelector('figcaption > span').after(this.#button);
    this.#turn(true);
  }

  #fail(sentence) {
    this.#view.remove();
    this.#button.remove();
    this.#code.hidden = false;
    this.#note.textContent = sentence;
    this.#figure.append(this.#note);
  }

  get #code() {
    return this.#figure.querySelector('pre');
  }

  #turn(diagram = this.#view.hidden) {
    this.#view.hidden = !diagram;
    this.#code.hidden = diagram;
    this.#button.textContent = diagram ? t('diagram.code') : t('diagram.diagram');
  }
}

function refreshAll() {
  for (const view of document.querySelectorAll('figure.code > .diagram')) shown.get(view.parentNode)?.refresh();
}

NIGHT.addEventListener('change', refreshAll);
new MutationObserver(refreshAll).observe(document.documentElement, { attributeFilter: ['data-theme'] });
