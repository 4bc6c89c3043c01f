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
 * The dialect is CommonMark with GitHub's tables, task lists, strikethrough, bare links, footnotes and formulas, and with
 * `<details>`, `<br>` and a few tags without attributes (html_tags.js). Left out on purpose: all other HTML, indented
 * code (models indent by accident), and loading images from elsewhere (an image becomes a link). A definition counts
 * outside of lists and quotations only, and where its address may be followed.
 *
 * Each paragraph, heading and cell has the direction of its own text, a list and a quotation that of their first
 * letter; code and formulas run from left to right.
 */

import { parse } from './blocks.js';
import { reconcile, showBlock } from './blocks_view.js';
import { Footnotes } from './footnotes.js';
import { References } from './references.js';

/** A growing Markdown text inside `root`. */
export class MarkdownView {
  #root;
  #text = '';
  #blocks = [];
  #pen = null; // the mark after the last word
  #settled = 0; // characters before the last two blocks, which cannot change any more
  #references = new References();
  #footnotes;

  constructor(root) {
    this.#root = root;
    this.#footnotes = new Footnotes(root);
    root.classList.add('markdown');
  }

  /** Draw `text`; `live` while more is to come. */
  show(text, { live = false } = {}) {
    const grown = text.startsWith(this.#text);
    const from = grown ? this.#settled : 0;
    const kept = grown ? this.#blocks.filter((block) => block.offset < from) : [];
    const next = [...kept, ...withOffsets(text, from, live)];
    this.#draw(next, live, kept.length);
    this.#blocks = next;
    this.#text = text;
    this.#settled = next.length > 2 ? next.at(-2).offset : 0;
    this.#markPen(live);
  }

  #draw(next, live, kept) {
    const old = this.#blocks;
    const changed = this.#references.define(next);
    for (const block of old) block.stale = [...changed].some((label) => block.asked.has(label));
    const behind = this.#footnotes.node.parentNode ? this.#footnotes.node : null;
    for (let i = changed.size ? 0 : kept; i < next.length; i += 1) {
      next[i].asked = old[i] && !old[i].stale ? old[i].asked : new Set();
      this.#references.collect(next[i].asked);
      const drawing = { live: live && i === next.length - 1, references: this.#references };
      showBlock(this.#root, old[i], next[i], drawing, behind);
    }
    for (let i = next.length; i < old.length; i += 1) old[i].node.remove();
    this.#drawFootnotes(next.at(-1), live);
    for (const block of old) block.stale = false;
  }

  #drawFootnotes(last, live) {
    this.#footnotes.show(this.#references.notes, (body, before, block) => {
      if (before?.stale) body.replaceChildren();
      this.#references.collect(block.asked);
      const drawing = { live: live && block === last, references: this.#references };
      reconcile(body, before && !before.stale ? before.blocks : [], block.blocks, drawing);
    });
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
