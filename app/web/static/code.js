/** A block of code with the name of its language, a copy button and colours, drawn line by line as it grows. */

import { copyButton, h } from './dom.js';
import { t } from './texts.js';

const words = (text) => new Set(text.trim().split(/\s+/));

const C_LIKE = `
  break case catch class const continue default do else enum extends false finally for if import in interface
  new null private protected public return static super switch this throw true try void while
`;
const FAMILIES = [
  {
    names: 'js javascript jsx mjs ts typescript tsx',
    line: '//',
    block: true,
    template: true,
    keywords: words(
      `
      ${C_LIKE} as async await declare delete export from function get implements instanceof keyof let
      namespace of readonly set type typeof undefined var yield abstract never unknown string number boolean
      any
    `,
    ),
  },
  {
    names: 'py python python3',
    line: '#',
    triple: true,
    keywords: words(
      `
      False None True and as assert async await break class continue def del elif else except finally for from
      global if import in is lambda match case nonlocal not or pass raise return self try while with yield
    `,
    ),
  },
  { names: 'json jsonc', line: '//', keywords: words('true false null') },
  {
    names: 'sh bash shell zsh console dockerfile makefile make',
    line: '#',
    keywords: words(
      `
      if then else elif fi for in do done while until case esac function return exit export local set unset
      source echo cd sudo FROM RUN COPY ENV CMD ENTRYPOINT WORKDIR EXPOSE ARG USER
    `,
    ),
  },
  { names: 'yaml yml toml ini', line: '#', keywords: words('true false null yes no on off') },
  {
    names: 'sql postgresql postgres',
    line: '--',
    block: true,
    ignoreCase: true,
    keywords: words(
      `
      add all alter and as asc begin between by cascade case check column commit constraint create cross
      default delete desc distinct drop else end exists false for foreign from full grant group having if in
      index inner insert into is join key left like limit not null offset on or order outer primary references
      returning right rollback select set table then true union unique update using values view when where
      with
    `,
    ),
  },
  {
    names: 'go golang',
    line: '//',
    block: true,
    template: true,
    keywords: words(
      `
      ${C_LIKE} chan defer fallthrough func go goto map nil package range select struct type var string int
      error bool byte
    `,
    ),
  },
  {
    names: 'rust rs',
    line: '//',
    block: true,
    keywords: words(
      `
      as async await break const continue crate dyn else enum extern false fn for if impl in let loop match
      mod move mut pub ref return self Self static struct super trait true type unsafe use where while Some
      None Ok Err
    `,
    ),
  },
  {
    names: 'c cpp c++ h java kotlin cs csharp swift php scala dart',
    line: '//',
    block: true,
    keywords: words(
      `
      ${C_LIKE} abstract auto bool boolean char delete double final float fun func guard implements include
      instanceof int let long namespace nil override package short signed sizeof string struct template
      typedef union unsigned using val var virtual where
    `,
    ),
  },
  { names: 'css scss less', block: true, css: true, keywords: words('important') },
  { names: 'html xml svg vue', markup: true, keywords: words('') },
  { names: 'diff patch', diff: true, keywords: words('') },
];

const BY_NAME = new Map(FAMILIES.flatMap((family) => family.names.split(' ').map((name) => [name, family])));
const NUMBER = /^(?:0[xXbBoO][\da-fA-F_]+|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)/;
const LONGEST_LINE = 2000; // characters; a longer line gets no colours
const GROUP = 50; // lines that are laid out together: when a long program grows, only the last group is

/**
 * One line as [kind, text] pieces. `state` is what the line before left open ('' or the closing mark); returns
 * {pieces, state}. Kinds: comment, string, number, keyword, call, '' (plain).
 */
export function colour(line, family, state = '') {
  if (!family || line.length > LONGEST_LINE) return { pieces: [['', line]], state: '' };
  if (family.diff)
    return { pieces: [[{ '+': 'added', '-': 'removed', '@': 'comment' }[line[0]] ?? '', line]], state: '' };
  const pieces = [];
  let at = 0;
  const push = (kind, length) => {
    pieces.push([kind, line.slice(at, at + length)]);
    at += length;
  };
  const until = (mark, from) => {
    const end = line.indexOf(mark, from);
    return end < 0 ? null : end + mark.length;
  };
  while (at < line.length) {
    if (state) {
      const end = until(state, at);
      push(state === '*/' || state === '-->' ? 'comment' : 'string', (end ?? line.length) - at);
      if (end !== null) state = '';
      continue;
    }
    const open = opener(line, at, family);
    if (open) {
      const end = open.mark ? until(open.mark, at + open.length) : line.length;
      push(open.kind, (end ?? line.length) - at);
      if (end === null) state = open.mark;
      continue;
    }
    const [kind, length] = word(line, at, family);
    push(kind, length);
  }
  return { pieces, state };
}

// A comment or a string that may run over several lines.
function opener(line, at, family) {
  const is = (mark) => line.startsWith(mark, at);
  if (family.markup) return is('<!--') ? { kind: 'comment', mark: '-->', length: 4 } : null;
  if (family.block && is('/*')) return { kind: 'comment', mark: '*/', length: 2 };
  if (family.line && is(family.line) && (family.line !== '#' || at === 0 || /\s/.test(line[at - 1])))
    return { kind: 'comment' };
  if (family.triple && (is('"""') || is("'''"))) return { kind: 'string', mark: line.slice(at, at + 3), length: 3 };
  if (family.template && is('`')) return { kind: 'string', mark: '`', length: 1 };
  return null;
}

function word(line, at, family) {
  const rest = line.slice(at);
  let match;
  if ((match = /^(?:"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?)/.exec(rest))) {
    // An apostrophe in markup or between letters is no string.
    const prose = match[0][0] === "'" && (family.markup || /\w/.test(line[at - 1] ?? ''));
    return prose ? ['', 1] : ['string', match[0].length];
  }
  if (family.markup)
    return (match = /^<\/?[\w:-]+|^\/?>/.exec(rest))
      ? ['keyword', match[0].length]
      : (match = /^[\w:-]+(?==)/.exec(rest))
        ? ['call', match[0].length]
        : ['', 1];
  if (family.css && (match = /^(?:--)?[a-zA-Z-]+(?=\s*:)/.exec(rest))) return ['call', match[0].length];
  if ((match = /^[\p{L}_$@][\p{L}\p{N}_$]*/u.exec(rest))) {
    const name = family.ignoreCase ? match[0].toLowerCase() : match[0];
    const call = /^\s?\(/.test(rest.slice(match[0].length));
    return [family.keywords.has(name) ? 'keyword' : call ? 'call' : '', match[0].length];
  }
  if ((match = NUMBER.exec(rest))) return ['number', match[0].length];
  return ['', (/^[^\p{L}\p{N}_$@"'`/#<>-]+/u.exec(rest) ?? ['x'])[0].length];
}

/** A growing block of code. Finished lines are not drawn again. */
export class CodeView {
  #family;
  #code = h('code', { dir: 'ltr' });
  #lines = []; // {text, after, node}: `after` is the state behind the line
  #text = '';

  constructor(language) {
    const name = language
      .toLowerCase()
      .replace(/[^\w+#.-]/g, '')
      .slice(0, 24);
    this.#family = BY_NAME.get(name);
    const label = name || 'code';
    this.node = h(
      'figure',
      { class: 'code' },
      h(
        'figcaption',
        {},
        h('span', {}, label),
        copyButton(t('code.copy'), () => this.#text),
      ),
      h('pre', { dir: 'ltr', tabindex: '0', role: 'region', 'aria-label': t('code.name', { language: label }) }, this.#code),
    );
  }

  /** Draw `text`; `whole` when it is complete. */
  show(text) {
    this.#text = text;
    const next = text.split('\n');
    let state = '';
    let changed = false;
    next.forEach((line, i) => {
      const old = this.#lines[i];
      if (!changed && old?.text === line) {
        state = old.after;
        return;
      }
      const { pieces, state: after } = colour(line, this.#family, state);
      changed ||= old !== undefined && old.after !== after;
      const node = h(
        'span',
        { class: 'line' },
        pieces.map(([kind, piece]) => (kind ? h('span', { class: kind }, piece) : piece)),
        '\n',
      );
      if (old) old.node.replaceWith(node);
      else this.#group(i).append(node);
      this.#lines[i] = { text: line, after, node };
      state = after;
    });
    for (const extra of this.#lines.splice(next.length)) extra.node.remove();
    while (this.#code.childElementCount > Math.ceil(next.length / GROUP)) this.#code.lastChild.remove();
  }

  #group(line) {
    const at = Math.floor(line / GROUP);
    if (!this.#code.children[at]) this.#code.append(h('span', { class: 'lines' }));
    return this.#code.children[at];
  }
}
