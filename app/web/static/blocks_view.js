/** The nodes of Markdown's blocks, and how the nodes of a growing text follow it. */

import { CodeView } from './code.js';
import { offerDiagram } from './diagram_offer.js';
import { directionOf } from './direction.js';
import { h } from './dom.js';
import { formulaNode } from './formula_view.js';
import { parseInline } from './inline.js';
import { patchInline, renderInline } from './inline_view.js';
import { paragraphNode, patchParagraph } from './paragraph.js';
import { cells } from './table.js';
import { t } from './texts.js';

const MANY_ROWS = 150; // a longer table has columns of one width, because finding the best widths takes too long
const GROUP = 50; // rows of a table that are laid out together

/**
 * Make `parent` show the blocks `next`, reusing the nodes of `old`. Only the very last block can be unfinished. `drawing`
 * has the `references` of the text, and `live`.
 */
export function reconcile(parent, old, next, drawing) {
  for (let i = 0; i < next.length; i += 1) {
    showBlock(parent, old[i], next[i], { ...drawing, live: drawing.live && i === next.length - 1 });
  }
  for (let i = next.length; i < old.length; i += 1) old[i].node.remove();
}

/** Show `block` in the place of `before`, or in front of `behind` where nothing was before. */
export function showBlock(parent, before, block, drawing, behind = null) {
  const node = before?.node;
  block.live = drawing.live;
  if (before && isSame(before, block)) adopt(block, before);
  else if (isPatched(before, block, drawing)) block.node = node;
  else {
    block.node = RENDER[block.type](block, drawing);
    if (before) node.replaceWith(block.node);
    else parent.insertBefore(block.node, behind);
  }
}

function isSame(before, block) {
  if (before.type !== block.type || before.stale) return false;
  return before.raw === block.raw && before.live === block.live && before.task === block.task;
}

function isPatched(before, block, drawing) {
  return before?.type === block.type && !before.stale && PATCH[block.type]?.(before, block, drawing) === true;
}

function adopt(block, before) {
  block.node = before.node;
  block.view = before.view;
  block.pieces = before.pieces;
  block.tree = before.tree;
  if (before.blocks) block.blocks = before.blocks;
  if (before.items) block.items = before.items;
  if (before.rows) block.rows = before.rows;
}

const treeOf = (text, { live, references }) => parseInline(text, live, references);
const inline = (text, drawing) => renderInline(treeOf(text, drawing));

const RENDER = {
  paragraph(block, drawing) {
    return looksLikeTable(block) ? provisionalTable(block, drawing) : paragraphNode(block, drawing.references);
  },
  // The headings of an answer are below those of the page. Models begin with one sign or two for one level.
  heading(block, drawing) {
    block.tree = treeOf(block.text, drawing);
    const name = `h${Math.min(Math.max(block.level + 1, 3), 6)}`;
    return h(name, { class: `level-${block.level}`, dir: 'auto' }, renderInline(block.tree));
  },
  rule: () => h('hr'),
  formula: ({ text, open, tex = null }) => formulaNode('p', text, { open, tex }),
  // The words of a definition are shown elsewhere.
  definition: () => document.createComment(''),
  pending: () => document.createComment(''),
  note: () => document.createComment(''),
  code(block) {
    block.view = new CodeView(block.language);
    showCode(block);
    return block.view.node;
  },
  quote(block, drawing) {
    const node = h('blockquote', { dir: directionOf(block.raw) });
    reconcile(node, [], block.blocks, drawing);
    return node;
  },
  details(block, drawing) {
    const body = h('div', {});
    reconcile(body, [], block.blocks, drawing);
    const summary = block.summary === null ? [t('markdown.details')] : inline(block.summary, drawing);
    return h('details', { open: block.open }, h('summary', { dir: 'auto' }, summary), body);
  },
  list(block, drawing) {
    const attributes = { class: block.loose ? 'loose' : 'tight', dir: directionOf(block.raw) };
    const node = h(block.ordered ? 'ol' : 'ul', attributes);
    if (block.ordered && block.first !== 1) node.start = block.first;
    reconcile(node, [], block.items, drawing);
    return node;
  },
  item(block, drawing) {
    const node = h('li', block.task === null ? {} : { class: 'task' });
    if (block.task !== null) node.append(checkbox(block.task));
    reconcile(node, [], block.blocks, drawing);
    return node;
  },
  table(block, drawing) {
    const table = h('table', { dir: directionOf(block.raw) });
    const whole = { ...drawing, live: false };
    const head = block.head.map((cell, i) =>
      h('th', { scope: 'col', class: block.align[i], dir: 'auto' }, inline(cell, whole)),
    );
    const attributes = { class: tableClass(block), tabindex: '0', role: 'region', 'aria-label': t('markdown.table') };
    table.append(h('thead', {}, h('tr', {}, head)));
    reconcileRows(table, [], block.rows, drawing);
    return h('div', attributes, table);
  },
  row(block, drawing) {
    const cell = (text, i) => h('td', { class: block.align[i], dir: 'auto' }, inline(text, drawing));
    return h('tr', {}, block.cells.map(cell));
  },
};

function showCode(block) {
  block.view.show(block.text);
  if (block.closed || !block.live) offerDiagram(block.view.node, block);
}

const PATCH = {
  paragraph(before, block, { references }) {
    return !looksLikeTable(before) && !looksLikeTable(block) && patchParagraph(before, block, references);
  },
  heading(before, block, drawing) {
    if (before.level !== block.level) return false;
    block.tree = treeOf(block.text, drawing);
    patchInline(before.node, before.tree, block.tree);
    return true;
  },
  code(before, block) {
    if (before.language !== block.language) return false;
    block.view = before.view;
    showCode(block);
    return true;
  },
  note: () => true,
  quote(before, block, drawing) {
    direct(before.node, block);
    reconcile(before.node, before.blocks, block.blocks, drawing);
    return true;
  },
  details(before, block, drawing) {
    if (before.summary !== block.summary || before.open !== block.open) return false;
    reconcile(before.node.lastChild, before.blocks, block.blocks, drawing);
    return true;
  },
  list(before, block, drawing) {
    if (before.ordered !== block.ordered || before.first !== block.first) return false;
    if (before.loose !== block.loose) before.node.className = block.loose ? 'loose' : 'tight';
    direct(before.node, block);
    reconcile(before.node, before.items, block.items, drawing);
    return true;
  },
  item(before, block, drawing) {
    if (before.task !== block.task) return false;
    reconcile(before.node, before.blocks, block.blocks, drawing);
    return true;
  },
  table(before, block, drawing) {
    if (before.head.join('|') !== block.head.join('|') || before.align.join() !== block.align.join()) return false;
    reconcileRows(before.node.firstChild, before.rows, block.rows, drawing);
    if (tableClass(before) !== tableClass(block)) before.node.className = tableClass(block);
    return true;
  },
};

// The rows of a table are in groups. While a long table grows, the browser lays out only the last one again.
function reconcileRows(table, old, next, drawing) {
  const groups = Math.max(1, Math.ceil(next.length / GROUP));
  for (let i = 0; i < groups; i += 1) {
    if (!table.tBodies[i]) table.append(h('tbody'));
    const part = (rows) => rows.slice(i * GROUP, (i + 1) * GROUP);
    reconcile(table.tBodies[i], part(old), part(next), { ...drawing, live: drawing.live && i === groups - 1 });
  }
  while (table.tBodies.length > groups) table.lastChild.remove();
}

// An attribute that is set to what it is already would have everything inside styled again.
function direct(node, { raw }) {
  const direction = directionOf(raw);
  if (node.dir !== direction) node.dir = direction;
}

const tableClass = ({ rows }) => (rows.length > MANY_ROWS ? 'table long' : 'table');

const checkbox = (done) =>
  h('input', { type: 'checkbox', disabled: true, checked: done, 'aria-label': done ? t('markdown.done') : t('markdown.to_do') });

// The first line of a table arrives before the line that makes it a table; it is drawn as a table from the start.
function looksLikeTable(block) {
  if (!block.live || !block.text.startsWith('|')) return false;
  const [, under, ...more] = block.text.split('\n');
  return more.length === 0 && (under === undefined || /^[\s|:-]*$/.test(under));
}

function provisionalTable(block, drawing) {
  const head = cells(block.text.split('\n')[0]);
  return RENDER.table({ align: head.map(() => ''), head, rows: [], raw: block.text, live: true }, drawing);
}
