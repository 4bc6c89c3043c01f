/** Markdown's blocks: lines to a tree. A block with an unchanged source (`raw`) has not changed. */

import { formulaEnd } from './formula.js';

const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-+*]|\d{1,9}[.)])( +(?=\S)|[ \t]*$)/;
const UNDERLINE = /^ {0,3}(={3,}|-{3,})[ \t]*$/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
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
  if (QUOTE.test(line) && depth < DEEPEST) return quote(lines, at, depth);
  if (ITEM.test(line) && depth < DEEPEST) return list(lines, at, depth);
  if (isTable(lines, at)) return table(lines, at);
  const end = formulaEnd(lines, at, live);
  if (end) return { type: 'formula', text: lines.slice(at, end).join('\n'), end };
  return paragraph(lines, at, live);
}

function isBlank(line) {
  return line.trim() === '';
}

// Whether a line ends a paragraph and begins another block. Of numbers only "1." may: "in\n1984. That" is prose.
function interrupts(line) {
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
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

function quote(lines, at, depth) {
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
  return { type: 'quote', blocks: parseBlocks(inner, depth + 1), end };
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
    return (this.#blocks ??= parseBlocks(this.#body, this.#depth));
  }

  set blocks(blocks) {
    this.#blocks = blocks;
  }

  #hasGap() {
    return this.blocks.some((block, i) => i > 0 && block.type === 'paragraph' && isBlank(this.#body[block.start - 1]));
  }
}

function isTable(lines, at) {
  if (!lines[at].includes('|') || at + 1 >= lines.length) return false;
  const under = lines[at + 1];
  return under.includes('-') && DELIMITERS.test(under) && cells(lines[at]).length === cells(under).length;
}

function table(lines, at) {
  const align = cells(lines[at + 1]).map((cell) => {
    if (cell.endsWith(':')) return cell.startsWith(':') ? 'center' : 'right';
    return cell.startsWith(':') ? 'left' : '';
  });
  let end = at + 2;
  const rows = [];
  for (; end < lines.length && !isBlank(lines[end]) && !interrupts(lines[end]); end += 1) {
    rows.push(new Row(lines[end], align));
  }
  return { type: 'table', align, head: cells(lines[at]), rows, end };
}

// A row of a table. Its cells are parsed on demand, like the blocks of an item.
class Row {
  type = 'row';

  constructor(raw, align) {
    this.raw = raw;
    this.align = align;
  }

  get cells() {
    const found = cells(this.raw);
    return this.align.map((_, i) => found[i] ?? '');
  }
}

/** The cells of a table's line. */
export function cells(line) {
  const inner = line
    .trim()
    .replace(/^\|/, '')
    .replace(/(^|[^\\])\|$/, '$1');
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'));
}

function paragraph(lines, at, live) {
  let end = at + 1;
  for (; end < lines.length && !isBlank(lines[end]); end += 1) {
    const under = UNDERLINE.exec(lines[end]);
    if (under) {
      const text = joined(lines, at, end);
      return { type: 'heading', level: under[1][0] === '=' ? 1 : 2, text, end: end + 1 };
    }
    if (interrupts(lines[end]) || isTable(lines, end) || formulaEnd(lines, end, live)) break;
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
