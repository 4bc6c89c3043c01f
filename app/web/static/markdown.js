/**
 * Markdown as it grows, straight to DOM nodes.
 *
 *     const view = new MarkdownView(element);
 *     view.show(textSoFar, { live: true });   // any number of times
 *     view.show(text);                        // the end
 *
 * Text becomes text nodes and nothing else: no HTML is ever parsed, so none can be injected. While the text grows
 * only its last blocks are parsed, and only the nodes that changed are touched; a selection further up survives.
 * With `live`, unfinished marks at the end are drawn as if they were closed, so that "**bo" never shows its stars.
 *
 * The dialect is CommonMark with GitHub's tables, task lists, strikethrough and bare links; a formula is shown as it
 * is written. Left out on purpose: raw HTML except <br>, indented code (models indent by accident), reference links,
 * and loading images from elsewhere (an image becomes a link).
 *
 * Each paragraph, heading and cell has the direction of its own text, a list and a quotation that of their first
 * letter; code and formulas run from left to right.
 */

import { cells, parse } from './blocks.js';
import { CodeView } from './code.js';
import { directionOf } from './direction.js';
import { h } from './dom.js';
import { parseInline } from './inline.js';

const LONG = 4000; // characters of a paragraph
const MANY_ROWS = 150; // a longer table has columns of one width, because finding the best widths takes too long

/** A growing Markdown text inside `root`. */
export class MarkdownView {
  #root;
  #text = '';
  #blocks = [];
  #pen = null; // the mark after the last word
  #settled = 0; // characters before the last two blocks, which cannot change any more

  constructor(root) {
    this.#root = root;
    root.classList.add('markdown');
  }

  /** Draw `text`; `live` while more is to come. */
  show(text, { live = false } = {}) {
    const grown = text.startsWith(this.#text);
    const from = grown ? this.#settled : 0;
    const kept = grown ? this.#blocks.filter((block) => block.offset < from) : [];
    const tail = withOffsets(text, from, live);
    const next = [...kept, ...tail];
    reconcile(this.#root, this.#blocks, next, live, kept.length);
    this.#blocks = next;
    this.#text = text;
    this.#settled = next.length > 2 ? next.at(-2).offset : 0;
    this.#markPen(live);
  }

  // An attribute of one element: a rule about everything inside a live answer would have all of it styled anew.
  #markPen(live) {
    const place = live ? penPlace(this.#root.lastElementChild) : null;
    if (place === this.#pen) return;
    this.#pen?.removeAttribute('data-pen');
    place?.setAttribute('data-pen', '');
    this.#pen = place;
  }
}

function penPlace(node) {
  if (node?.matches('ul, ol')) return penPlace(node.lastElementChild?.lastElementChild);
  return node?.matches('p, h3, h4, h5, h6') ? node : null;
}

function withOffsets(text, from, live) {
  const source = text.slice(from);
  const blocks = parse(source, live);
  const starts = [0];
  // Models rarely send CRLF. A text that has it is parsed as a whole each time.
  if (source.includes('\r')) return blocks.map((block) => ({ ...block, offset: from }));
  for (let at = source.indexOf('\n'); at >= 0; at = source.indexOf('\n', at + 1)) starts.push(at + 1);
  for (const block of blocks) block.offset = from + starts[block.start];
  return blocks;
}

// Make `parent` show `next`, reusing the nodes of `old`. Only the very last block can be unfinished.
function reconcile(parent, old, next, live, from = 0) {
  for (let i = from; i < next.length; i += 1) {
    const block = next[i];
    const before = old[i];
    block.live = live && i === next.length - 1;
    if (before && same(before, block)) adopt(block, before);
    else if (before?.type === block.type && PATCH[block.type]?.(before, block)) block.node = before.node;
    else {
      block.node = RENDER[block.type](block);
      if (before) before.node.replaceWith(block.node);
      else parent.append(block.node);
    }
  }
  for (let i = next.length; i < old.length; i += 1) old[i].node.remove();
}

function same(before, block) {
  return (
    before.type === block.type && before.raw === block.raw && before.live === block.live && before.task === block.task
  );
}

function adopt(block, before) {
  block.node = before.node;
  block.view = before.view;
  block.pieces = before.pieces;
  if (before.blocks) block.blocks = before.blocks;
  if (before.items) block.items = before.items;
  if (before.rows) block.rows = before.rows;
}

const inline = (text, live) => renderInline(parseInline(text, live));

const RENDER = {
  paragraph(block) {
    if (looksLikeTable(block)) return provisionalTable(block);
    block.pieces = pieces(block.text);
    if (block.pieces.length === 1) return h('p', { dir: 'auto' }, inline(block.text, block.live));
    return h('p', { dir: 'auto' }, block.pieces.map((text, i) => piece(text, block.live && i === block.pieces.length - 1)));
  },
  // The headings of an answer are below those of the page. Models begin with one sign or two for one level.
  heading: (block) =>
    h(
      `h${Math.min(Math.max(block.level + 1, 3), 6)}`,
      { class: `level-${block.level}`, dir: 'auto' },
      inline(block.text, block.live),
    ),
  rule: () => h('hr'),
  formula: ({ text }) => h('p', { class: 'formula', dir: 'ltr' }, text),
  code(block) {
    block.view = new CodeView(block.language);
    block.view.show(block.text, block.closed || !block.live);
    return block.view.node;
  },
  quote(block) {
    const node = h('blockquote', { dir: directionOf(block.raw) });
    reconcile(node, [], block.blocks, block.live);
    return node;
  },
  list(block) {
    const attributes = { class: block.loose ? 'loose' : 'tight', dir: directionOf(block.raw) };
    const node = h(block.ordered ? 'ol' : 'ul', attributes);
    if (block.ordered && block.first !== 1) node.start = block.first;
    reconcile(node, [], block.items, block.live);
    return node;
  },
  item(block) {
    const node = h('li', block.task === null ? {} : { class: 'task' });
    if (block.task !== null)
      node.append(
        h('input', {
          type: 'checkbox',
          disabled: true,
          checked: block.task,
          'aria-label': block.task ? 'done' : 'to do',
        }),
      );
    reconcile(node, [], block.blocks, block.live);
    return node;
  },
  table(block) {
    const body = h('tbody');
    reconcile(body, [], block.rows, block.live);
    const head = h(
      'tr',
      {},
      block.head.map((cell, i) => h('th', { scope: 'col', class: block.align[i], dir: 'auto' }, inline(cell))),
    );
    return h(
      'div',
      {
        class: block.rows.length > MANY_ROWS ? 'table long' : 'table',
        tabindex: '0',
        role: 'region',
        'aria-label': 'Table',
      },
      h('table', { dir: directionOf(block.raw) }, h('thead', {}, head), body),
    );
  },
  row: (block) =>
    h(
      'tr',
      {},
      block.cells.map((cell, i) => h('td', { class: block.align[i], dir: 'auto' }, inline(cell, block.live))),
    ),
};

const PATCH = {
  paragraph(before, block) {
    if (looksLikeTable(before) || looksLikeTable(block)) return false;
    block.pieces = pieces(block.text);
    if (before.pieces.length > 1 && block.pieces.length > 1) {
      growPieces(before, block);
      return true;
    }
    if (block.pieces.length > 1) return false;
    before.node.replaceChildren(...inline(block.text, block.live));
    return true;
  },
  code(before, block) {
    if (before.language !== block.language) return false;
    block.view = before.view;
    block.view.show(block.text, block.closed || !block.live);
    return true;
  },
  quote(before, block) {
    before.node.dir = directionOf(block.raw);
    reconcile(before.node, before.blocks, block.blocks, block.live);
    return true;
  },
  list(before, block) {
    if (before.ordered !== block.ordered || before.first !== block.first) return false;
    before.node.className = block.loose ? 'loose' : 'tight';
    before.node.dir = directionOf(block.raw);
    reconcile(before.node, before.items, block.items, block.live);
    return true;
  },
  item(before, block) {
    if (before.task !== block.task) return false;
    reconcile(before.node, before.blocks, block.blocks, block.live);
    return true;
  },
  table(before, block) {
    if (before.head.join('|') !== block.head.join('|') || before.align.join() !== block.align.join()) return false;
    reconcile(before.node.querySelector('tbody'), before.rows, block.rows, block.live);
    before.node.classList.toggle('long', block.rows.length > MANY_ROWS);
    return true;
  },
};

// A very long paragraph is drawn in pieces: those before the last one are not parsed again. Marks that reach over the
// border of two pieces stay signs.
function pieces(text) {
  const found = [];
  for (let at = 0, cut; at < text.length || !found.length; at = cut) {
    const border = text.length - at > LONG ? text.slice(at + LONG).search(/\s/) : -1;
    cut = border < 0 ? text.length : at + LONG + border + 1;
    found.push(text.slice(at, cut));
  }
  return found;
}

const piece = (text, live) => h('span', { class: 'piece' }, inline(text, live));

function growPieces(before, block) {
  const { node, pieces: old } = before;
  block.pieces.forEach((text, i) => {
    const last = i === block.pieces.length - 1;
    if (text === old[i] && !last && i !== old.length - 1) return;
    const fresh = piece(text, block.live && last);
    if (node.children[i]) node.children[i].replaceWith(fresh);
    else node.append(fresh);
  });
  while (node.children.length > block.pieces.length) node.lastChild.remove();
}

// The first line of a table arrives before the line that makes it a table; it is drawn as a table from the start.
function looksLikeTable(block) {
  if (!block.live || !block.text.startsWith('|')) return false;
  const [, under, ...more] = block.text.split('\n');
  return more.length === 0 && (under === undefined || /^[\s|:-]*$/.test(under));
}

function provisionalTable(block) {
  const head = cells(block.text.split('\n')[0]);
  return RENDER.table({ align: head.map(() => ''), head, rows: [], raw: block.text, live: true });
}

function renderInline(nodes) {
  return nodes.map((node) => (typeof node === 'string' ? document.createTextNode(node) : INLINE[node.type](node)));
}

const INLINE = {
  break: () => h('br'),
  code: ({ text }) => h('code', { dir: 'ltr' }, text),
  formula: ({ text }) => h('span', { class: 'formula', dir: 'ltr' }, text),
  em: ({ children }) => h('em', {}, renderInline(children)),
  strong: ({ children }) => h('strong', {}, renderInline(children)),
  del: ({ children }) => h('del', {}, renderInline(children)),
  span: ({ children }) => h('span', {}, renderInline(children)),
  link: ({ href, children, image }) =>
    h(
      'a',
      { href, target: '_blank', rel: 'noopener noreferrer nofollow', title: image ? `Image: ${href}` : href },
      renderInline(children),
    ),
};
