/** Markdown within a block: text to a tree. */

import { delimiterRun, emphasise, merged } from './emphasis.js';
import { formulaAt } from './formula.js';
import { bareLink, linked, linkTarget } from './links.js';

const ESCAPABLE = /[!-/:-@[-`{-~]/;
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
    emphasise(this.#parts, 0, this.#live);
    return merged(this.#parts);
  }

  #step() {
    const text = this.#text;
    const char = text[this.#at];
    const formula = char === '$' || char === '\\' ? formulaAt(text, this.#at, this.#live) : null;
    if (formula) return this.#push({ type: 'formula', text: formula }, formula.length);
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
    const rest = /^[^\\`*_~![\]<&\n$h]+/.exec(this.#text.slice(this.#at, this.#at + 4096));
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
    const run = delimiterRun(this.#text, this.#at, char);
    this.#push(run, run.length);
  }

  #bracket(length) {
    this.#brackets.push({ part: this.#parts.length, image: length === 2 });
    this.#push({ type: 'bracket', text: this.#text.slice(this.#at, this.#at + length) }, length);
  }

  #close() {
    const opener = this.#brackets.pop();
    const target = opener && linkTarget(this.#text, this.#at + 1);
    if (!target) return this.#push(']', 1);
    emphasise(this.#parts, opener.part + 1, this.#live);
    const children = merged(this.#parts.splice(opener.part).slice(1));
    this.#parts.push(linked(target.href, children, opener.image));
    if (!opener.image) this.#brackets = this.#brackets.filter((each) => each.image); // a link holds no link
    this.#at = target.end;
    return undefined;
  }

  #angle() {
    const lineBreak = /^<br *\/?>/i.exec(this.#text.slice(this.#at, this.#at + 16));
    if (lineBreak) return this.#push({ type: 'break' }, lineBreak[0].length);
    const match = /^<((?:https?:\/\/|mailto:)[^\s<>]*|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)>/.exec(
      this.#text.slice(this.#at, this.#at + 2048),
    );
    if (!match) return this.#push('<', 1);
    const href = /^(https?|mailto):/.test(match[1]) ? match[1] : `mailto:${match[1]}`;
    return this.#push(linked(href, [match[1]]), match[0].length);
  }

  #bare() {
    const before = this.#text[this.#at - 1];
    const href = before && /\w/.test(before) ? null : bareLink(this.#text.slice(this.#at, this.#at + 2048));
    if (!href || this.#brackets.length) {
      const word = /^h[^\\`*_~![\]<&\n$h]*/.exec(this.#text.slice(this.#at, this.#at + 4096))[0];
      return this.#push(word, word.length);
    }
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

}

function codeText(text) {
  const line = text.replaceAll('\n', ' ');
  return line.startsWith(' ') && line.endsWith(' ') && line.trim() !== '' ? line.slice(1, -1) : line;
}

function codePoint(number) {
  const bad = number === 0 || number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff);
  return bad ? '\uFFFD' : String.fromCodePoint(number);
}
