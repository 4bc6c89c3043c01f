/** A paragraph as it grows. Words that stand in it already are not drawn again. */

import { h } from './dom.js';
import { parseInline } from './inline.js';
import { patchInline, renderInline } from './inline_view.js';

const LONG = 4000; // characters of a paragraph

/** The node of a paragraph. `block.pieces` gets what it shows: a text and a tree for each piece. */
export function paragraphNode(block, references) {
  block.pieces = pieces(block, references);
  const inner = block.pieces.length === 1 ? renderInline(block.pieces[0].tree) : block.pieces.map(pieceNode);
  return h('p', { dir: 'auto' }, inner);
}

/** Make the node of the paragraph `before` show `block`; false where that takes a new node. */
export function patchParagraph(before, block, references) {
  const { node, pieces: old } = before;
  block.pieces = pieces(block, references, old);
  const [few, fewer] = [old.length === 1, block.pieces.length === 1];
  if (few !== fewer) return false;
  if (few) {
    patchInline(node, old[0].tree, block.pieces[0].tree);
    return true;
  }
  block.pieces.forEach((piece, i) => {
    if (piece === old[i]) return;
    if (node.children[i]) patchInline(node.children[i], old[i].tree, piece.tree);
    else node.append(pieceNode(piece));
  });
  while (node.children.length > block.pieces.length) node.lastChild.remove();
  return true;
}

// A very long paragraph is drawn in pieces: those before the last one are not parsed again. Marks that reach over the
// border of two pieces stay signs.
function pieces({ text, live }, references, old = []) {
  return cut(text).map((part, i, { length }) => {
    const open = live && i === length - 1;
    const known = old[i]?.text === part && old[i].live === open;
    return known ? old[i] : { text: part, live: open, tree: parseInline(part, open, references) };
  });
}

function cut(text) {
  const found = [];
  for (let at = 0, end; at < text.length || !found.length; at = end) {
    const border = text.length - at > LONG ? text.slice(at + LONG).search(/\s/) : -1;
    end = border < 0 ? text.length : at + LONG + border + 1;
    found.push(text.slice(at, end));
  }
  return found;
}

const pieceNode = ({ tree }) => h('span', { class: 'piece' }, renderInline(tree));
