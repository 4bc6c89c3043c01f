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
 * The dialect is CommonMark with GitHub's tables, task lists, strikethrough and bare links. Left out on purpose:
 * raw HTML, indented code (models indent by accident), reference links, and loading images from elsewhere (an image
 * becomes a link).
 */

import { h } from './dom.js';
import { CodeView } from './code.js';

// ---------------------------------------------------------------------------------------------------------------
// Blocks: lines → a tree. Each block knows its source (`raw`), which is what decides whether it has changed.

const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-+*]|\d{1,9}[.)])( +(?=\S)|[ \t]*$)/;
const UNDERLINE = /^ {0,3}(={3,}|-{3,})[ \t]*$/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const TASK = /^\[([ xX])\][ \t]+/;
const DEEPEST = 12;

/** The blocks of `text`: what `show` draws. */
export function parse(text) {
  return parseBlocks(split(text), 0);
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

function parseBlocks(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const block = blockAt(lines, at, depth);
    block.start = at;
    block.raw = lines.slice(at, block.end).join('\n');
    blocks.push(block);
    at = block.end;
  }
  return blocks;
}

function blockAt(lines, at, depth) {
  const line = lines[at];
  let match;
  if ((match = FENCE.exec(line))) return fence(lines, at, match);
  if ((match = HEADING.exec(line))) return { type: 'heading', level: match[1].length, text: match[2] ?? '', end: at + 1 };
  if (RULE.test(line)) return { type: 'rule', end: at + 1 };
  if (QUOTE.test(line) && depth < DEEPEST) return quote(lines, at, depth);
  if (ITEM.test(line) && depth < DEEPEST) return list(lines, at, depth);
  if (isTable(lines, at)) return table(lines, at);
  return paragraph(lines, at);
}

function isBlank(line) {
  return line.trim() === '';
}

// Whether a line starts something new inside a paragraph. Only "1." may interrupt: "in\n1984. That" is prose.
function interrupts(line) {
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
  const item = ITEM.exec(line);
  return item !== null && item[3] !== '' && item[1].length < 4 && !isBlank(line.slice(item[0].length)) && /^([-+*]|1[.)])$/.test(item[2]);
}

// A line that a paragraph may go on after.
function isProse(line) {
  return !isBlank(line) && !FENCE.test(line) && !HEADING.test(line) && !RULE.test(line);
}

function fence(lines, at, [, indent, marks, info]) {
  const closing = new RegExp(`^ {0,3}${marks[0] === '`' ? '`' : '~'}{${marks.length},}[ \\t]*$`);
  const body = [];
  let end = at + 1;
  let closed = false;
  for (; end < lines.length && !closed; end += 1) {
    if (closing.test(lines[end])) closed = true;
    else body.push(dedent(lines[end], indent.length));
  }
  return { type: 'code', language: info.trim().split(/\s+/)[0] ?? '', text: body.join('\n'), closed, end };
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
    items.push(item(body, depth, lines.slice(end, next).join('\n')));
    const another = next < lines.length && ITEM.test(lines[next]);
    loose ||= blankBefore && another && ITEM.exec(lines[next])[2].at(-1) === kind;
    end = next;
  }
  loose ||= items.some((each) => each.loose);
  const ordered = kind === '.' || kind === ')';
  return { type: 'list', ordered, first: ordered ? parseInt(marker, 10) : 1, loose, items, end };
}

// The lines of one item without its marker and indentation. Lists nest from two spaces on: models write it so.
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

function item(body, depth, raw) {
  const task = TASK.exec(body[0]);
  if (task) body[0] = body[0].slice(task[0].length);
  const blocks = parseBlocks(body, depth + 1);
  const loose = blocks.some((block, i) => i > 0 && block.type === 'paragraph' && isBlank(body[block.start - 1]));
  return { type: 'item', task: task ? task[1] !== ' ' : null, blocks, loose, raw };
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
    rows.push({ type: 'row', cells: align.map((_, i) => cells(lines[end])[i] ?? ''), align, raw: lines[end] });
  }
  return { type: 'table', align, head: cells(lines[at]), rows, end };
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, '').replace(/(^|[^\\])\|$/, '$1');
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'));
}

function paragraph(lines, at) {
  let end = at + 1;
  for (; end < lines.length && !isBlank(lines[end]); end += 1) {
    const under = UNDERLINE.exec(lines[end]);
    if (under) {
      const text = joined(lines, at, end);
      return { type: 'heading', level: under[1][0] === '=' ? 1 : 2, text, end: end + 1 };
    }
    if (interrupts(lines[end]) || isTable(lines, end)) break;
  }
  return { type: 'paragraph', text: joined(lines, at, end), end };
}

function joined(lines, from, to) {
  return lines.slice(from, to).map((line) => line.trimStart()).join('\n').trimEnd();
}

// ---------------------------------------------------------------------------------------------------------------
// Inline: text → a tree, with CommonMark's delimiter runs.

const ESCAPABLE = /[!-/:-@[-`{-~]/;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const BARE_LINK = /^https?:\/\/[^\s<>]+/;
const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00A0', copy: '©', mdash: '—', ndash: '–', hellip: '…' };

/** Inline nodes of `text`: strings and {type, children | text | href}. */
export function parseInline(text, live = false) {
  if (live) text = text.replace(/!?\[([^[\]]*)\]\([^()\s]*$/, '$1');
  return new Inline(text, live).parse();
}

class Inline {
  #text;
  #live;
  #at = 0;
  #parts = [];
  #brackets = [];
  #noBackticks = new Set();
  #insideLink = false;

  constructor(text, live) {
    this.#text = text;
    this.#live = live;
  }

  parse() {
    while (this.#at < this.#text.length) this.#step();
    this.#emphasise(0);
    return merged(this.#parts);
  }

  #step() {
    const text = this.#text;
    const char = text[this.#at];
    switch (char) {
      case '\\':
        return this.#escape();
      case '`':
        return this.#code();
      case '*':
      case '_':
      case '~':
        return this.#run(char);
      case '!':
        return text[this.#at + 1] === '[' ? this.#bracket(2) : this.#plain();
      case '[':
        return this.#bracket(1);
      case ']':
        return this.#close();
      case '<':
        return this.#angle();
      case '&':
        return this.#entity();
      case '\n':
        return this.#newline();
      case 'h':
        return this.#bare();
      default:
        return this.#plain();
    }
  }

  #push(part, length) {
    this.#parts.push(part);
    this.#at += length;
  }

  #plain() {
    const rest = /^[^\\`*_~![\]<&\nh]+/.exec(this.#text.slice(this.#at, this.#at + 4096));
    const words = rest ? rest[0] : this.#text[this.#at];
    this.#push(words, words.length);
  }

  #escape() {
    const next = this.#text[this.#at + 1];
    if (next === '\n') this.#push({ type: 'break' }, 2);
    else if (next && ESCAPABLE.test(next)) this.#push(next, 2);
    else this.#push('\\', 1);
  }

  #code() {
    const run = /^`+/.exec(this.#text.slice(this.#at))[0];
    const close = this.#noBackticks.has(run.length) ? -1 : this.#closingRun(run);
    if (close >= 0) {
      const inner = this.#text.slice(this.#at + run.length, close);
      return this.#push({ type: 'code', text: codeText(inner) }, close + run.length - this.#at);
    }
    this.#noBackticks.add(run.length);
    if (!this.#live) return this.#push(run, run.length);
    const rest = this.#text.slice(this.#at + run.length);
    return this.#push(rest ? { type: 'code', text: codeText(rest) } : '', run.length + rest.length);
  }

  #closingRun(run) {
    const runs = /`+/g;
    runs.lastIndex = this.#at + run.length;
    for (let match; (match = runs.exec(this.#text)); ) if (match[0].length === run.length) return match.index;
    return -1;
  }

  #run(char) {
    const text = this.#text;
    let end = this.#at;
    while (text[end] === char) end += 1;
    const length = end - this.#at;
    const before = this.#at > 0 ? text[this.#at - 1] : ' ';
    const after = end < text.length ? text[end] : ' ';
    const left = !/\s/.test(after) && (!PUNCTUATION.test(after) || /\s/.test(before) || PUNCTUATION.test(before));
    const right = !/\s/.test(before) && (!PUNCTUATION.test(before) || /\s/.test(after) || PUNCTUATION.test(after));
    const word = char === '_';
    this.#push(
      {
        type: 'run',
        char,
        count: char === '~' && length > 2 ? 0 : length,
        length,
        opens: left && (!word || !right || PUNCTUATION.test(before)),
        closes: right && (!word || !left || PUNCTUATION.test(after)),
        trailing: end === text.length,
      },
      length,
    );
  }

  #bracket(length) {
    this.#brackets.push({ part: this.#parts.length, image: length === 2 });
    this.#push({ type: 'bracket', text: this.#text.slice(this.#at, this.#at + length) }, length);
  }

  #close() {
    const opener = this.#brackets.pop();
    const target = opener && linkTarget(this.#text, this.#at + 1);
    if (!target) return this.#push(']', 1);
    this.#emphasise(opener.part + 1);
    const children = merged(this.#parts.splice(opener.part).slice(1));
    this.#parts.push(linked(target.href, children, opener.image));
    if (!opener.image) this.#brackets = this.#brackets.filter((each) => each.image); // a link holds no link
    this.#at = target.end;
    return undefined;
  }

  #angle() {
    const match = /^<((?:https?:\/\/|mailto:)[^\s<>]*|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)>/.exec(this.#text.slice(this.#at, this.#at + 2048));
    if (!match) return this.#push('<', 1);
    const href = /^(https?|mailto):/.test(match[1]) ? match[1] : `mailto:${match[1]}`;
    return this.#push(linked(href, [match[1]]), match[0].length);
  }

  #bare() {
    const before = this.#text[this.#at - 1];
    const match = before && /\w/.test(before) ? null : BARE_LINK.exec(this.#text.slice(this.#at, this.#at + 2048));
    if (!match || this.#brackets.length) {
      const word = /^h[^\\`*_~![\]<&\nh]*/.exec(this.#text.slice(this.#at, this.#at + 4096))[0];
      return this.#push(word, word.length);
    }
    const href = trimmed(match[0]);
    return this.#push(linked(href, [href]), href.length);
  }

  #entity() {
    const match = /^&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-zA-Z]{2,8}));/.exec(this.#text.slice(this.#at, this.#at + 12));
    const char = match && (match[3] ? ENTITIES[match[3]] : codePoint(match[1] ? parseInt(match[1], 10) : parseInt(match[2], 16)));
    if (!char) return this.#push('&', 1);
    return this.#push(char, match[0].length);
  }

  #newline() {
    const last = this.#parts.at(-1);
    const hard = typeof last === 'string' && / {2,}$/.test(last);
    if (typeof last === 'string') this.#parts[this.#parts.length - 1] = last.trimEnd();
    this.#push(hard ? { type: 'break' } : '\n', 1);
  }

  // CommonMark's "process emphasis", over the parts from `from` on.
  #emphasise(from) {
    const parts = this.#parts;
    const bottom = new Map();
    for (let close = from; close < parts.length; close += 1) {
      const closer = parts[close];
      if (closer.type !== 'run' || !closer.closes || closer.count === 0) continue;
      const key = `${closer.char}${closer.opens}${closer.length % 3}`;
      const floor = bottom.get(key) ?? from;
      const open = findOpener(parts, close, floor);
      if (open < 0) {
        bottom.set(key, close);
        continue;
      }
      close = this.#wrap(open, close) - 1;
    }
    if (this.#live && from === 0) this.#closeOpenRuns();
    for (let i = from; i < parts.length; i += 1) parts[i] = unmarked(parts[i]);
  }

  // Wrap what stands between two runs; returns where to go on: the closing run, which may close once more.
  #wrap(open, close) {
    const parts = this.#parts;
    const [opener, closer] = [parts[open], parts[close]];
    const two = opener.count >= 2 && closer.count >= 2;
    const size = opener.char === '~' ? opener.count : two ? 2 : 1;
    const type = opener.char === '~' ? 'del' : two ? 'strong' : 'em';
    const inner = parts.slice(open + 1, close).map(unmarked);
    opener.count -= size;
    closer.count -= size;
    opener.used = closer.used = true;
    const children = merged(inner);
    const depth = 1 + children.reduce((deepest, child) => Math.max(deepest, child.depth ?? 0), 0);
    // Deeper than anybody means it: keep the words, drop the marks.
    const piece = depth > DEEPEST ? children : [{ type, children, depth }];
    parts.splice(open + 1, close - open - 1, ...piece);
    return open + 1 + piece.length;
  }

  #closeOpenRuns() {
    const parts = this.#parts;
    let closed = 0;
    for (let i = parts.length - 1; i >= 0 && closed < DEEPEST; i -= 1) {
      const run = parts[i];
      if (run.type !== 'run' || run.count === 0 || !(run.opens || run.trailing)) continue;
      closed += 1;
      const rest = parts.slice(i + 1).map(unmarked);
      const empty = merged(rest).length === 0;
      if (run.trailing && run.length <= 3) parts.splice(i, parts.length - i);
      else if (run.opens && !empty && run.count <= 2) {
        const type = run.char === '~' ? 'del' : run.count === 2 ? 'strong' : 'em';
        parts.splice(i, parts.length - i, { type, children: merged(rest) });
      }
    }
  }
}

// What is left of a run that found no partner is text.
function unmarked(part) {
  if (part.type !== 'run') return part;
  return part.char.repeat(part.used ? part.count : part.length);
}

function findOpener(parts, close, floor) {
  const closer = parts[close];
  for (let i = close - 1; i >= floor; i -= 1) {
    const run = parts[i];
    if (run.type !== 'run' || run.char !== closer.char || !run.opens || run.count === 0) continue;
    if (closer.char === '~' && run.count !== closer.count) continue;
    const odd = (run.closes || closer.opens) && (run.length + closer.length) % 3 === 0 && (run.length % 3 || closer.length % 3);
    if (!odd) return i;
  }
  return -1;
}

function codeText(text) {
  const line = text.replaceAll('\n', ' ');
  return line.startsWith(' ') && line.endsWith(' ') && line.trim() !== '' ? line.slice(1, -1) : line;
}

function codePoint(number) {
  const bad = number === 0 || number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff);
  return bad ? '\uFFFD' : String.fromCodePoint(number);
}

// `(destination "title")` behind a bracket: {href, end} or null.
function linkTarget(text, at) {
  if (text[at] !== '(') return null;
  const rest = text.slice(at, at + 4096);
  const match = /^\([ \n]*(?:<([^<>\n]*)>|((?:\\.|[^\s()\\]|\((?:\\.|[^\s()\\])*\))*))(?:[ \n]+(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\((?:\\.|[^()\\])*\)))?[ \n]*\)/.exec(rest);
  if (!match) return null;
  return { href: (match[1] ?? match[2]).replace(/\\([!-/:-@[-`{-~])/g, '$1'), end: at + match[0].length };
}

function linked(href, children, image = false) {
  const safe = safeLink(href);
  const label = image && children.length === 0 ? ['image'] : children;
  return safe ? { type: 'link', href: safe, image, children: label } : { type: 'span', children: label };
}

/** The address when it leads to the web or to mail, otherwise null: no script, no data, no path of this site. */
export function safeLink(href) {
  if (!/^(https?:\/\/|mailto:)/i.test(href.trim())) return null;
  try {
    const url = new URL(href.trim());
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

// Punctuation and unbalanced brackets at the end of a bare link belong to the sentence around it.
function trimmed(link) {
  for (;;) {
    const last = link.at(-1);
    if (/[?!.,:;*_~'"\]]/.test(last)) link = link.slice(0, -1);
    else if (last === ')' && link.split(')').length > link.split('(').length) link = link.slice(0, -1);
    else return link;
  }
}

// Join neighbouring strings; what is left of brackets is text.
function merged(parts) {
  const out = [];
  for (const part of parts) {
    const piece = part.type === 'bracket' ? part.text : part;
    if (piece === '') continue;
    if (typeof piece === 'string' && typeof out.at(-1) === 'string') out[out.length - 1] += piece;
    else out.push(piece);
  }
  return out;
}

function renderInline(nodes) {
  return nodes.map((node) => (typeof node === 'string' ? document.createTextNode(node) : INLINE[node.type](node)));
}

const INLINE = {
  break: () => h('br'),
  code: ({ text }) => h('code', {}, text),
  em: ({ children }) => h('em', {}, renderInline(children)),
  strong: ({ children }) => h('strong', {}, renderInline(children)),
  del: ({ children }) => h('del', {}, renderInline(children)),
  span: ({ children }) => h('span', {}, renderInline(children)),
  link: ({ href, children, image }) =>
    h('a', { href, target: '_blank', rel: 'noopener noreferrer nofollow', title: image ? `Image: ${href}` : href }, renderInline(children)),
};

// ---------------------------------------------------------------------------------------------------------------
// Drawing: a tree of blocks onto the nodes that are already there.

/** A growing Markdown text inside `root`. */
export class MarkdownView {
  #root;
  #text = '';
  #blocks = [];
  #settled = 0; // characters before the last two blocks: they cannot change any more

  constructor(root) {
    this.#root = root;
    root.classList.add('markdown');
  }

  /** Draw `text`; `live` while more is to come. */
  show(text, { live = false } = {}) {
    const grown = live && text.startsWith(this.#text);
    const from = grown ? this.#settled : 0;
    const kept = grown ? this.#blocks.filter((block) => block.offset < from) : [];
    const tail = withOffsets(text, from);
    const next = [...kept, ...tail];
    reconcile(this.#root, this.#blocks, next, live, kept.length);
    this.#blocks = next;
    this.#text = text;
    this.#settled = next.length > 2 ? next.at(-2).offset : 0;
  }
}

function withOffsets(text, from) {
  const source = text.slice(from);
  const blocks = parse(source);
  const starts = [0];
  // CRLF never comes from our server's models in practice; where it does, the whole text is parsed each time.
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
  return before.type === block.type && before.raw === block.raw && before.live === block.live && before.task === block.task;
}

function adopt(block, before) {
  block.node = before.node;
  block.view = before.view;
  if (before.blocks) block.blocks = before.blocks;
  if (before.items) block.items = before.items;
  if (before.rows) block.rows = before.rows;
}

const inline = (text, live) => renderInline(parseInline(text, live));

const RENDER = {
  paragraph: (block) => (looksLikeTable(block) ? provisionalTable(block) : h('p', {}, inline(block.text, block.live))),
  // The answer stands below the page's own headings, so its outline starts at level three.
  heading: (block) => h(`h${Math.min(block.level + 2, 6)}`, { class: `level-${block.level}` }, inline(block.text, block.live)),
  rule: () => h('hr'),
  code(block) {
    block.view = new CodeView(block.language);
    block.view.show(block.text, block.closed || !block.live);
    return block.view.node;
  },
  quote(block) {
    const node = h('blockquote');
    reconcile(node, [], block.blocks, block.live);
    return node;
  },
  list(block) {
    const node = h(block.ordered ? 'ol' : 'ul', { class: block.loose ? 'loose' : 'tight' });
    if (block.ordered && block.first !== 1) node.start = block.first;
    reconcile(node, [], block.items, block.live);
    return node;
  },
  item(block) {
    const node = h('li', block.task === null ? {} : { class: 'task' });
    if (block.task !== null) node.append(h('input', { type: 'checkbox', disabled: true, checked: block.task, 'aria-label': block.task ? 'done' : 'to do' }));
    reconcile(node, [], block.blocks, block.live);
    return node;
  },
  table(block) {
    const body = h('tbody');
    reconcile(body, [], block.rows, block.live);
    const head = h('tr', {}, block.head.map((cell, i) => h('th', { scope: 'col', class: block.align[i] }, inline(cell))));
    return h('div', { class: 'table', tabindex: '0', role: 'region', 'aria-label': 'Table' }, h('table', {}, h('thead', {}, head), body));
  },
  row: (block) => h('tr', {}, block.cells.map((cell, i) => h('td', { class: block.align[i] }, inline(cell, block.live)))),
};

const PATCH = {
  paragraph(before, block) {
    if (looksLikeTable(before) || looksLikeTable(block)) return false;
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
    reconcile(before.node, before.blocks, block.blocks, block.live);
    return true;
  },
  list(before, block) {
    if (before.ordered !== block.ordered || before.first !== block.first) return false;
    before.node.className = block.loose ? 'loose' : 'tight';
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
    return true;
  },
};

// A table's first line arrives before the line that makes it a table: draw it as one at once.
function looksLikeTable(block) {
  if (!block.live || !block.text.startsWith('|')) return false;
  const [, under, ...more] = block.text.split('\n');
  return more.length === 0 && (under === undefined || /^[\s|:-]*$/.test(under));
}

function provisionalTable(block) {
  const head = cells(block.text.split('\n')[0]);
  return RENDER.table({ align: head.map(() => ''), head, rows: [], live: true });
}
