/** Markdown within a block: text to a tree. */

import { delimiterRun, emphasise, merged, nested } from './emphasis.js';
import { entityAt } from './entities.js';
import { formulaAt } from './formula.js';
import { OpenTags, tagAt, withoutTagBegun } from './html_tags.js';
import { bareLink, linked, linkTarget } from './links.js';

const ESCAPABLE = /[!-/:-@[-`{-~]/;
const MOST_IMAGES = 12; // images within each other; those beyond are text
const LONGEST_LABEL = 999; // characters
const LABEL = /^\[((?:\\.|[^[\]\\])*)\]/;
const NOTE = /^\[\^([^\]\s]{1,99})\]/;

/** Inline nodes of `text`: strings and {type, children | text | href}. `references` knows the definitions. */
export function parseInline(text, live = false, references = null) {
  return new Inline(live ? withoutEnd(text) : text, live, references).parse();
}

// The text without a link, a footnote or a tag that has only begun at its end.
function withoutEnd(text) {
  const linkless = text.replace(/!?\[([^[\]]*)\]\([^()\s]*$/, '$1');
  const note = linkless.lastIndexOf('[^');
  return withoutTagBegun(note >= 0 && !/[\]\s]/.test(linkless.slice(note)) ? linkless.slice(0, note) : linkless);
}

class Inline {
  #text;
  #live;
  #references;
  #at = 0;
  #parts = [];
  #brackets = [];
  #tags = new OpenTags();
  #noBackticks = new Set();
  #closes = new Map(); // the next closing sign of each kind of formula

  constructor(text, live, references) {
    this.#text = text;
    this.#live = live;
    this.#references = references;
  }

  parse() {
    while (this.#at < this.#text.length) this.#step();
    for (let tag; this.#live && (tag = this.#tags.pop());) this.#wrap(tag.name, tag.index);
    emphasise(this.#parts, 0, this.#live);
    return merged(this.#parts);
  }

  #step() {
    const text = this.#text;
    const char = text[this.#at];
    const formula = char === '$' || char === '\\' ? formulaAt(text, this.#at, this.#live, this.#closes) : null;
    if (formula) return this.#push({ type: 'formula', ...formula }, formula.text.length);
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
        return text[this.#at + 1] === '[' && this.#images < MOST_IMAGES ? this.#bracket(2) : this.#plain();
      case '[':
        return this.#note() || this.#bracket(1);
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
    const image = length === 2;
    this.#brackets.push({
      part: this.#parts.length,
      image,
      at: this.#at + length,
      images: this.#images + Number(image),
    });
    this.#push({ type: 'bracket', text: this.#text.slice(this.#at, this.#at + length) }, length);
  }

  // The images that are open. Their words may have images again.
  get #images() {
    return this.#brackets.at(-1)?.images ?? 0;
  }

  // The mark of a footnote; whether there is one.
  #note() {
    const match = NOTE.exec(this.#text.slice(this.#at, this.#at + 102));
    if (!match || !this.#references?.hasNote(match[1])) return false;
    this.#push({ type: 'note', label: match[1] }, match[0].length);
    return true;
  }

  #close() {
    const opener = this.#brackets.pop();
    const target = opener && (linkTarget(this.#text, this.#at + 1) ?? this.#reference(opener));
    if (!target) return this.#push(']', 1);
    const children = this.#cut(opener.part);
    this.#parts.push(...nested(linked(target.href, children, opener.image)));
    if (!opener.image) this.#brackets = this.#brackets.filter((each) => each.image); // a link holds no link
    this.#at = target.end;
    return undefined;
  }

  // `[words][label]`, `[label][]` or `[label]`: {href, end}, or null.
  #reference({ at }) {
    if (!this.#references) return null;
    const follows = LABEL.exec(this.#text.slice(this.#at + 1, this.#at + LONGEST_LABEL + 3));
    const own = this.#at - at > LONGEST_LABEL ? '' : this.#text.slice(at, this.#at);
    const label = follows?.[1].trim() ? follows[1] : own;
    const href = label.includes('[') ? undefined : this.#references.link(label);
    return href ? { href, end: this.#at + 1 + (follows?.[0].length ?? 0) } : null;
  }

  // Takes the parts behind part `index` out, and with them their part of the text.
  #cut(index) {
    this.#tags.forget(index);
    emphasise(this.#parts, index + 1, this.#live);
    return merged(this.#parts.splice(index).slice(1));
  }

  #angle() {
    const lineBreak = /^<br *\/?>/i.exec(this.#text.slice(this.#at, this.#at + 16));
    if (lineBreak) return this.#push({ type: 'break' }, lineBreak[0].length);
    const tag = tagAt(this.#text.slice(this.#at, this.#at + 10));
    if (tag) return this.#tag(tag);
    const match = /^<((?:https?:\/\/|mailto:)[^\s<>]*|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)>/.exec(
      this.#text.slice(this.#at, this.#at + 2048),
    );
    if (!match) return this.#push('<', 1);
    const href = /^(https?|mailto):/.test(match[1]) ? match[1] : `mailto:${match[1]}`;
    return this.#push(linked(href, [match[1]]), match[0].length);
  }

  #tag({ name, closes, length }) {
    const source = this.#text.slice(this.#at, this.#at + length);
    const opener = closes ? this.#tags.close(name) : -1;
    if (closes && opener < 0) return this.#push(source, length);
    if (!closes) {
      const known = this.#tags.add(name, this.#parts.length);
      return this.#push(known ? { type: 'bracket', text: source } : source, length);
    }
    this.#wrap(name, opener);
    this.#at += length;
    return undefined;
  }

  // The parts behind an opening tag become its children. A bracket that was opened between them is text.
  #wrap(name, opener) {
    while (this.#brackets.length && this.#brackets.at(-1).part > opener) this.#brackets.pop();
    const children = this.#cut(opener);
    this.#parts.push(...nested({ type: 'tag', name, children }));
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
    const entity = entityAt(this.#text.slice(this.#at, this.#at + 12));
    if (!entity) return this.#push('&', 1);
    return this.#push(entity.char, entity.length);
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
