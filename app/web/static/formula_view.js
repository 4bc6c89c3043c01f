/**
 * Formulas on the page. They stand as they are written until KaTeX has drawn them, and where it cannot.
 *
 * The library is an optional package of this deployment (`make` installs it). The page says in a `meta` element whether
 * it is there, and loads it with the first formula.
 */

import { h } from './dom.js';
import { withoutMarks } from './formula.js';
import { t } from './texts.js';

const AT_ONCE = 20; // milliseconds of a task; formulas beyond it are drawn in later tasks
const MOST_KNOWN = 400; // drawn formulas that are kept, because a text that grows is drawn again and again
const WIDE = 36; // characters that cannot be parted: on a narrow screen they are scrolled
const HOME = new URL('./packages/katex/', import.meta.url);

const waiting = []; // [node, formula]
const known = new Map(); // key → the drawn node, or null where KaTeX refused the source
let katex = null;
let loading = null;
let task = null; // the timer of the next task
let spent = 0; // milliseconds of this task

/** A node that shows the formula `source`. One that is `open` is not complete; `tex` is its source without marks. */
export function formulaNode(tag, source, { open = false, tex = null } = {}) {
  const formula = tex === null ? withoutMarks(source) : { tex, display: true };
  const block = tag === 'p' ? { tabindex: '0', role: 'group', 'aria-label': t('markdown.formula') } : {};
  const node = h(tag, { class: formula.display ? 'formula display' : 'formula', dir: 'ltr', ...block }, source);
  if (!open && isOffered()) request(node, formula);
  return node;
}

function isOffered() {
  return document.querySelector('meta[name="formulas"]')?.content === 'drawn';
}

function request(node, formula) {
  if (katex && (spent < AT_ONCE || known.has(keyOf(formula)))) draw(node, formula);
  else {
    waiting.push([node, formula]);
    if (katex) schedule();
    else loading ??= load();
  }
}

async function load() {
  try {
    await Promise.all([import(new URL('katex.min.js', HOME)), style()]);
    await import(new URL('mhchem.min.js', HOME));
    katex = globalThis.katex;
  } catch {
    waiting.length = 0; // they stay as they are written
    return;
  }
  document.addEventListener('copy', copyAsWritten);
  work();
}

function style() {
  return new Promise((done, fail) => {
    document.head.append(
      h('link', { rel: 'stylesheet', href: new URL('katex.min.css', HOME), onload: done, onerror: fail }),
    );
  });
}

function schedule() {
  task ??= setTimeout(work);
}

// The clock of drawings runs until the next task, which begins a new one.
function work() {
  task = null;
  spent = 0;
  while (waiting.length && spent < AT_ONCE) draw(...waiting.shift());
  if (waiting.length) schedule();
}

const keyOf = ({ tex, display }) => `${display ? 'd' : 'i'}${tex}`;

function draw(node, formula) {
  const key = keyOf(formula);
  if (!known.has(key)) {
    const began = performance.now();
    known.set(key, drawn(formula));
    if (known.size > MOST_KNOWN) known.delete(known.keys().next().value);
    spent += performance.now() - began;
    if (spent > 0) schedule();
  }
  const template = known.get(key);
  if (!template) return;
  node.dataset.source = node.textContent;
  node.classList.add('drawn');
  node.classList.toggle('wide', template.wide);
  node.replaceChildren(template.node.cloneNode(true));
}

function drawn({ tex, display }) {
  const place = h('span');
  try {
    // A macro of one formula does not reach the next one; commands for links, images and attributes are refused.
    katex.render(tex, place, { displayMode: display, trust: false, strict: 'ignore', maxSize: 20, maxExpand: 500 });
  } catch {
    return null;
  }
  const wide = !display && [...place.querySelectorAll('.base')].some((base) => base.textContent.length > WIDE);
  return { node: place.firstChild, wide };
}

// A selection with formulas is copied with their sources. A drawn formula has each sign twice.
function copyAsWritten(event) {
  const selection = getSelection();
  if (selection.isCollapsed || event.defaultPrevented) return;
  const copy = h('div', { class: 'copy' });
  for (let i = 0; i < selection.rangeCount; i += 1) copy.append(selection.getRangeAt(i).cloneContents());
  const formulas = copy.querySelectorAll('.formula[data-source]');
  if (formulas.length === 0) return;
  for (const each of formulas) each.textContent = each.dataset.source;
  document.body.append(copy);
  event.clipboardData.setData('text/plain', copy.innerText);
  copy.remove();
  event.preventDefault();
}
