/** Tables of Markdown: lines to cells. */

const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/** Tells whether a table begins at line `at`: its line of cells, and the line below that makes it one. */
export function isTable(lines, at) {
  if (!lines[at].includes('|') || at + 1 >= lines.length) return false;
  const under = lines[at + 1];
  return under.includes('-') && DELIMITERS.test(under) && cells(lines[at]).length === cells(under).length;
}

/** The table that begins at line `at`. `ends` tells the lines that end it. */
export function table(lines, at, ends) {
  const align = cells(lines[at + 1]).map((cell) => {
    if (cell.endsWith(':')) return cell.startsWith(':') ? 'center' : 'right';
    return cell.startsWith(':') ? 'left' : '';
  });
  let end = at + 2;
  const rows = [];
  for (; end < lines.length && lines[end].trim() !== '' && !ends(lines[end]); end += 1) {
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
