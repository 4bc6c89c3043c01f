/** The sources of formulas in Markdown. TeX has the marks of Markdown with other meanings, so nothing in it is a mark. */

const LONGEST = 4096; // characters of a formula within a block
const MOST_LINES = 200; // lines of a formula that is a block
const CLOSE = { '\\(': '\\)', '\\[': '\\]', $$: '$$' };
// `$…$` with text at both ends and no digit behind it, so that prices stay text.
const DOLLARS = /^\$(?![\s$])(?:\\[^]|[^$\\])*?(?<!\s)\$(?!\d)/;
// `$5 or 10$` is an amount and words.
const AMOUNT = /^\$\d[\d.,]*\s+\p{L}{2,}[\s,.;]/u;
const COMMAND = /\\[a-zA-Z]/;
// A bracket is often escaped to keep it from being a link. A formula in brackets has one of these signs.
const TEX = /[\\^_={}]/;
// Signs that no prose has. With them, a formula that is never closed is still no text: the answer was cut.
const SURELY = /\\[a-zA-Z]|[\^_]\{/;
const BEGIN =
  /^ {0,3}(\\\[|\$\$|\\begin\{((?:equation|align|alignat|gather|multline|split|cases|[pbvBV]?matrix)\*?)\})/;

/**
 * The formula that begins at `at` in `text`: {text, open}, or null. One that is `open` reaches to the end: the rest of it
 * is still to come (`live`), or it was cut. `closes` is a map of this text, empty at first.
 */
export function formulaAt(text, at, live, closes) {
  const opening = text.slice(at, at + 2);
  if (!(opening in CLOSE)) return text[at] === '$' ? dollars(text, at) : null;
  const end = nextClose(text, at, opening, closes);
  if ((end < 0 ? text.length : end) - at > LONGEST) return null;
  const inner = text.slice(at + 2, end < 0 ? text.length : end);
  if (opening === '\\[' && !TEX.test(inner)) return null;
  if (end >= 0) return inner.trim() === '' ? null : { text: text.slice(at, end + 2), open: false };
  return live || SURELY.test(inner) ? { text: text.slice(at), open: true } : null;
}

// A text with many openings is searched once for each closing sign.
function nextClose(text, at, opening, closes) {
  const known = closes.get(opening);
  if (known === -1 || known >= at + 2) return known;
  const found = text.indexOf(CLOSE[opening], at + 2);
  closes.set(opening, found);
  return found;
}

function dollars(text, at) {
  if (/\w/.test(text[at - 1] ?? '')) return null;
  const source = DOLLARS.exec(text.slice(at, at + LONGEST))?.[0];
  if (!source || AMOUNT.test(source)) return null;
  return source.includes('\n') && !COMMAND.test(source) ? null : { text: source, open: false };
}

/** The formula that is a block of its own from line `at` on: {text, open, end}, or null. */
export function formulaBlock(lines, at, live) {
  const match = BEGIN.exec(lines[at]);
  if (!match) return null;
  const close = match[2] ? `\\end{${match[2]}}` : CLOSE[match[1]];
  const first = lines[at].slice(match[0].length);
  if (first.includes(close)) {
    // `$$…$$` on one line is part of a paragraph, where words may follow it.
    return match[2] && first.endsWith(close) ? { text: lines[at].trim(), open: false, end: at + 1 } : null;
  }
  return until(lines, at, close, first.trim() === '', live);
}

// An opening sign that stands alone is a block also when it has empty lines in it.
function until(lines, at, close, alone, live) {
  const last = Math.min(lines.length, at + MOST_LINES);
  const source = (end) => lines.slice(at, end).join('\n').trim();
  let end = at + 1;
  for (; end < last && (alone || lines[end].trim() !== ''); end += 1) {
    const found = lines[end].indexOf(close);
    if (found < 0) continue;
    const rest = lines[end].slice(found + close.length);
    return rest.trim() === '' ? { text: source(end + 1), open: false, end: end + 1 } : null;
  }
  const cut = end === lines.length && (live || SURELY.test(source(end)));
  return cut ? { text: source(end), open: true, end } : null;
}

/** The formula of a source without its marks: {tex, display}. */
export function withoutMarks(source) {
  if (source.startsWith('\\begin')) return { tex: source, display: true };
  if (source.startsWith('$') && !source.startsWith('$$')) return { tex: unquoted(source.slice(1, -1)), display: false };
  return { tex: source.slice(2, -2), display: !source.startsWith('\\(') };
}

// GitHub also has `$`…`$`.
function unquoted(tex) {
  return /^`.*`$/s.test(tex) ? tex.slice(1, -1) : tex;
}
