/** `<details>` of Markdown: a summary, and blocks that open below it. */

const OPENING = /^ {0,3}<details( open)?>/i;
const NESTED = /^\s*<details( open)?>/i;
const CLOSING = /^(.*?)<\/details>[ \t]*$/i;
const SUMMARY = /^[ \t]*<summary>/i;
const SUMMARY_ENDS = /<\/summary>/i;
const LONGEST_SUMMARY = 4; // lines

/** Tells whether a line begins one. */
export function isDetails(line) {
  return OPENING.test(line);
}

/** The details that begin at line `at`: {open, summary, body, end}. Without a closing tag they reach to the end. */
export function detailsAt(lines, at, fence) {
  const [opening, open] = OPENING.exec(lines[at]);
  const inner = [lines[at].slice(opening.length)];
  let depth = 1;
  let fenced = null; // the marks of the fence that is open
  let end = at;
  for (; end < lines.length && depth > 0; end += 1) {
    const line = end === at ? inner.pop() : lines[end];
    const marks = fence.exec(line)?.[2];
    if (marks && (!fenced || marks.startsWith(fenced))) fenced = fenced ? null : marks;
    if (!fenced && end > at && NESTED.test(line)) depth += 1;
    const closing = fenced ? null : CLOSING.exec(line);
    if (closing) depth -= 1;
    inner.push(closing && depth === 0 ? closing[1] : line);
  }
  return { open: Boolean(open), ...withSummary(inner), end };
}

function withSummary(inner) {
  const first = inner.findIndex((line) => line.trim() !== '');
  if (first < 0 || !SUMMARY.test(inner[first])) return { summary: null, body: inner };
  const last = inner.slice(first, first + LONGEST_SUMMARY).findIndex((line) => SUMMARY_ENDS.test(line));
  const lines = inner.slice(first, first + Math.max(last, 0) + 1);
  const [summary, rest = ''] = lines.join('\n').replace(SUMMARY, '').split(SUMMARY_ENDS);
  return { summary: summary.trim(), body: [rest, ...inner.slice(first + lines.length)] };
}
