/** Markdown within a block: text to a tree, with CommonMark's delimiter runs. */

const DEEPEST = 12;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const BARE_LINK = /^https?:\/\/[^\s<>]+/;
const TARGET = new RegExp(
  [
    /^\([ \n]*/,
    /(?:<([^<>\n]*)>|((?:\\.|[^\s()\\]|\((?:\\.|[^\s()\\])*\))*))/, // <destination> or destination
    /(?:[ \n]+(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\((?:\\.|[^()\\])*\)))?/, // a title, which is not shown
    /[ \n]*\)/,
  ]
    .map((part) => part.source)
    .join(''),
);
const ENTITIES = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  nbsp: '\u00A0',
  copy: '©',
  mdash: '—',
  ndash: '–',
  hellip: '…',
};

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
    for (let match; (match = runs.exec(this.#text));) if (match[0].length === run.length) return match.index;
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
    const match = /^<((?:https?:\/\/|mailto:)[^\s<>]*|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)>/.exec(
      this.#text.slice(this.#at, this.#at + 2048),
    );
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
    const match = /^&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-zA-Z]{2,8}));/.exec(
      this.#text.slice(this.#at, this.#at + 12),
    );
    const char =
      match && (match[3] ? ENTITIES[match[3]] : codePoint(match[1] ? parseInt(match[1], 10) : parseInt(match[2], 16)));
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
    const odd =
      (run.closes || closer.opens) && (run.length + closer.length) % 3 === 0 && (run.length % 3 || closer.length % 3);
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
  const match = TARGET.exec(text.slice(at, at + 4096));
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
