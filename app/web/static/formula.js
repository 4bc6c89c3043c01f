/** Formulas in Markdown. TeX has the marks of Markdown with other meanings: a formula is shown as it is written. */

const LONGEST = 4096; // characters of a formula within a block
const MOST_LINES = 200; // lines of a formula that is a block
const CLOSE = { '\\(': '\\)', '\\[': '\\]', $$: '$$' };
// `$…$` with text at both ends and no digit behind it, so that prices stay text.
const DOLLARS = /^\$(?![\s$])(?:\\.|[^$\\\n])*?(?<!\s)\$(?!\d)/;
// A bracket is often escaped to keep it from being a link. A formula in brackets has one of these signs.
const TEX = /[\\^_={}]/;
const BEGIN = /^ {0,3}(\\\[|\$\$)/;

/** The source of the formula that begins at `at` in `text`, or null; while `live`, an open one reaches to the end. */
export function formulaAt(text, at, live) {
  const open = text.slice(at, at + 2);
  if (!(open in CLOSE)) return text[at] === '$' ? (DOLLARS.exec(text.slice(at, at + LONGEST))?.[0] ?? null) : null;
  const end = text.indexOf(CLOSE[open], at + 2);
  if (end < 0 && !live) return null;
  const source = end < 0 ? text.slice(at) : text.slice(at, end + 2);
  if (source.length > LONGEST || (open === '\\[' && !TEX.test(end < 0 ? source.slice(2) : source.slice(2, -2)))) return null;
  return source;
}

/** The index behind the last line of a formula block that begins at line `at`, 0 for none; an open one is `live`. */
export function formulaEnd(lines, at, live) {
  const open = BEGIN.exec(lines[at])?.[1];
  if (!open) return 0;
  const first = lines[at].trimStart().slice(2);
  if (first.includes(CLOSE[open])) return 0; // a line of a paragraph
  const last = Math.min(lines.length, at + MOST_LINES);
  for (let end = at + 1; end < last && lines[end].trim() !== ''; end += 1) {
    const close = lines[end].indexOf(CLOSE[open]);
    if (close >= 0) return lines[end].slice(close + 2).trim() === '' ? end + 1 : 0;
    if (live && end + 1 === lines.length) return lines.length;
  }
  return 0;
}
