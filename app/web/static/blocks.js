/** Markdown's blocks: lines to a tree. A block with an unchanged source (`raw`) has not changed. */

import { detailsAt, isDetails } from './details.js';
import { formulaBlock } from './formula.js';
import { definitionOn, noteLines, noteOn } from './references.js';
import { isTable, table } from './table.js';

const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-+*]|\d{1,9}[.)])( +(?=\S)|[ \t]*$)/;
const UNDERLINE = /^ {0,3}(={3,}|-{3,})[ \t]*$/;
const TASK = /^\[([ xX])\][ \t]+/;
const DEEPEST = 12;

/** The blocks of `text`, as `show` of markdown.js draws them; `live` while more is to come. */
export function parse(text, live = false) {
  return parseBlocks(split(text), 0, live);
}

function split(text) {
  return text.replace(/\r\n?/g, '\n').split('\n').map(expandTabs);
}

function expandTabs(line) {
  if (!/^ *\t/.test(line)) return line;
  return line.replace(/^[ \t]+/, (indent) => {
    let width = 0;
    for (const char of indent) width += char === '\t' ? 4 - (width % 4) : 1;
    return ' '.repeat(width);
  });
}

function parseBlocks(lines, depth, live = false) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const block = blockAt(lines, at, depth, live);
    block.start = at;
    block.raw = lines.slice(at, block.end).join('\n');
    blocks.push(block);
    at = block.end;
  }
  return blocks;
}

function blockAt(lines, at, depth, live) {
  const line = lines[at];
  let match;
  if ((match = FENCE.exec(line))) return fence(lines, at, match, live);
  if ((match = HEADING.exec(line)))
    return { type: 'heading', level: match[1].length, text: match[2] ?? '', end: at + 1 };
  if (RULE.test(line)) return { type: 'rule', end: at + 1 };
  if (depth < DEEPEST) {
    if (QUOTE.test(line)) return quote(lines, at, depth, live);
    if (ITEM.test(line)) return list(lines, at, depth);
    if (isDetails(line)) return details(lines, at, depth, live);
  }
  if (isTable(lines, at)) return table(lines, at, interrupts);
  return (depth === 0 && definition(lines, at, live)) || formula(lines, at, live) || paragraph(lines, at, live);
}

function formula(lines, at, live) {
  const found = formulaBlock(lines, at, live);
  return found && { type: 'formula', ...found };
}

function details(lines, at, depth, live) {
  const { body, ...found } = detailsAt(lines, at, FENCE);
  return { type: 'details', ...found, blocks: parseBlocks(body, depth + 1, live && found.end === lines.length) };
}

// `[label]: address` and `[^label]: words`. Of an address that is still arriving only the beginning is known.
function definition(lines, at, live) {
  const defined = definitionOn(lines[at]);
  if (defined)
    return live && at + 1 === lines.length
      ? { type: 'pending', end: at + 1 }
      : { type: 'definition', ...defined, end: at + 1 };
  const note = noteOn(lines[at]);
  if (!note) return null;
  const { lines: body, end } = noteLines(lines, at, interrupts);
  return { type: 'note', label: note.label, blocks: parseBlocks(body, 1, live && end === lines.length), end };
}

function isBlank(line) {
  return line.trim() === '';
}

// Whether a line ends a paragraph and begins another block. Of numbers only "1." may: "in\n1984. That" is prose.
function interrupts(line) {
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
  if (isDetails(line) || noteOn(line)) return true;
  const match = ITEM.exec(line);
  if (!match || isBlank(line.slice(match[0].length))) return false;
  return match[1].length < 4 && /^([-+*]|1[.)])$/.test(match[2]);
}

// A line after which a paragraph may continue.
function isProse(line) {
  return !isBlank(line) && !FENCE.test(line) && !HEADING.test(line) && !RULE.test(line);
}

// Models put Markdown with code blocks into a Markdown block of the same fence. Its inner blocks are counted, unless the
// outer one would then never end.
function fence(lines, at, match, live) {
  const info = match[3].trim().split(/\s+/)[0] ?? '';
  const nested = /^(markdown|md|mdx)$/i.test(info) ? fenced(lines, at, match, true) : null;
  const found = nested && (nested.closed || live) ? nested : fenced(lines, at, match, false);
  if (info === 'math')
    return { type: 'formula', text: found.text, tex: found.text, open: !found.closed, end: found.end };
  return { type: 'code', language: info, ...found };
}

function fenced(lines, at, [, indent, marks], nests) {
  const closing = new RegExp(`^ {0,3}${marks[0] === '`' ? '`' : '~'}{${marks.length},}[ \\t]*$`);
  const body = [];
  let depth = 1;
  let end = at + 1;
  for (; end < lines.length && depth > 0; end += 1) {
    const line = lines[end];
    if (closing.test(line)) depth -= 1;
    else if (nests && FENCE.exec(line)?.[2] === marks) depth += 1;
    if (depth > 0) body.push(dedent(line, indent.length));
  }
  return { text: body.join('\n'), closed: depth === 0, end };
}

function dedent(line, width) {
  let cut = 0;
  while (cut < width && line[cut] === ' ') cut += 1;
  return line.slice(cut);
}

function quote(lines, at, depth, live) {
  const inner = [];
  let end = at;
  let fenced = false;
  for (; end < lines.length && !isBlank(lines[end]); end += 1) {
    const mine = QUOTE.test(lines[end]);
    const line = mine ? lines[end].replace(QUOTE, '') : lines[end];
    if (!mine && (fenced || !isProse(inner.at(-1)) || interrupts(line))) break;
    if (FENCE.test(line)) fenced = !fenced;
    inner.push(line);
  }
  return { type: 'quote', blocks: parseBlocks(inner, depth + 1, live && end === lines.length), end };
}

function list(lines, at, depth) {
  const [, indent, marker] = ITEM.exec(lines[at]);
  const kind = marker.at(-1);
  const items = [];
  let end = at;
  let loose = false;
  while (end < lines.length) {
    const match = ITEM.exec(lines[end]);
    const mine = match && match[2].at(-1) === kind && match[1].length < indent.length + 2 && !RULE.test(lines[end]);
    if (!mine) break;
    const { body, end: next, blankBefore } = itemLines(lines, end, match);
    items.push(new Item(body, depth + 1, lines.slice(end, next).join('\n')));
    const another = next < lines.length && ITEM.test(lines[next]);
    loose ||= blankBefore && another && ITEM.exec(lines[next])[2].at(-1) === kind;
    end = next;
  }
  loose ||= items.some((each) => each.loose);
  const ordered = kind === '.' || kind === ')';
  return { type: 'list', ordered, first: ordered ? parseInt(marker, 10) : 1, loose, items, end };
}

// The lines of one item without its marker and indentation. Two spaces nest a list, because models write it so.
function itemLines(lines, at, [whole, indent, marker, gap]) {
  const empty = whole.length === lines[at].length;
  const offset = indent.length + marker.length + (empty || gap.length > 4 ? 1 : gap.length);
  const nested = indent.length + 2;
  const body = [lines[at].slice(offset)];
  let end = at + 1;
  let blanks = 0;
  let open = FENCE.exec(body[0])?.[2] ?? null;
  for (; end < lines.length; end += 1) {
    const line = lines[end];
    if (isBlank(line)) {
      blanks += 1;
      continue;
    }
    const width = line.length - line.trimStart().length;
    const inside = width >= offset || (width >= nested && (ITEM.test(line) || FENCE.test(line) || open));
    const lazy = blanks === 0 && !open && !isBlank(body.at(-1)) && !interrupts(line) && !ITEM.test(line);
    if (!inside && !lazy) break;
    for (; blanks > 0; blanks -= 1) body.push('');
    body.push(inside ? dedent(line, offset) : line.trimStart());
    const mark = FENCE.exec(body.at(-1));
    if (mark) open = open ? (mark[2].startsWith(open) ? null : open) : mark[2];
  }
  return { body, end, blankBefore: blanks > 0 };
}

// An item of a list. Its blocks are parsed on demand: of a long list that grows, only the last item is drawn.
class Item {
  type = 'item';
  live = false; // set before its blocks are read
  #body;
  #depth;
  #blocks = null;

  constructor(body, depth, raw) {
    const task = TASK.exec(body[0]);
    if (task) body[0] = body[0].slice(task[0].length);
    this.task = task ? task[1] !== ' ' : null;
    this.raw = raw;
    this.#body = body;
    this.#depth = depth;
    this.loose = body.some(isBlank) && this.#hasGap();
  }

  get blocks() {
    return (this.#blocks ??= parseBlocks(this.#body, this.#depth, this.live));
  }

  set blocks(blocks) {
    this.#blocks = blocks;
  }

  #hasGap() {
    return this.blocks.some((block, i) => i > 0 && block.type === 'paragraph' && isBlank(this.#body[block.start - 1]));
  }
}

function paragraph(lines, at, live) {
  let end = at + 1;
  for (; end < lines.length && !isBlank(lines[end]); end += 1) {
    const under = UNDERLINE.exec(lines[end]);
    if (under) {
      const text = joined(lines, at, end);
      return { type: 'heading', level: under[1][0] === '=' ? 1 : 2, text, end: end + 1 };
    }
    if (interrupts(lines[end]) || isTable(lines, end) || formulaBlock(lines, end, live)) break;
  }
  return { type: 'paragraph', text: joined(lines, at, end), end };
}

function joined(lines, from, to) {
  return lines
    .slice(from, to)
    .map((line) => line.trimStart())
    .join('\n')
    .trimEnd();
}
