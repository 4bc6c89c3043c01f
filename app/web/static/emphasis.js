/** Emphasis of Markdown: CommonMark's delimiter runs, with the rules that Chinese, Japanese and Korean text needs. */

const DEEPEST = 12;
const PUNCTUATION = /[\p{P}\p{S}]/u;
// Wide letters and marks. Their sentences have no spaces, so a mark beside a word does not end the word.
const WIDE =
  /[\u2E80-\u303F\u3040-\u31FF\u3400-\u4DBF\u4E00-\u9FFF\uA960-\uA97F\uAC00-\uD7FF\uF900-\uFAFF\uFE30-\uFE4F\uFF01-\uFFEF]|[\u{20000}-\u{3FFFF}]/u;

/** The run of `char` at `at` in `text`: its length, and whether it can open and close emphasis. */
export function delimiterRun(text, at, char) {
  let end = at;
  while (text[end] === char) end += 1;
  const length = end - at;
  const before = at > 0 ? lastCharacter(text, at) : ' ';
  const after = end < text.length ? String.fromCodePoint(text.codePointAt(end)) : ' ';
  const left = flanks(after, before);
  const right = flanks(before, after);
  const word = char === '_';
  return {
    type: 'run',
    char,
    count: char === '~' && length > 2 ? 0 : length,
    length,
    opens: left && (!word || !right || PUNCTUATION.test(before)),
    closes: right && (!word || !left || PUNCTUATION.test(after)),
    trailing: end === text.length,
  };
}

// Whether a run belongs to the text on the side of `inner`.
function flanks(inner, outer) {
  if (/\s/.test(inner)) return false;
  if (!PUNCTUATION.test(inner) || WIDE.test(inner)) return true;
  return /\s/.test(outer) || PUNCTUATION.test(outer) || WIDE.test(outer);
}

function lastCharacter(text, at) {
  const low = text.charCodeAt(at - 1);
  return low >= 0xdc00 && low <= 0xdfff && at > 1 ? text.slice(at - 2, at) : text[at - 1];
}

/**
 * Wrap what is between matching runs of `parts`, from `from` on (CommonMark's "process emphasis"), in place.
 * With `live`, runs that are still open wrap the rest.
 */
export function emphasise(parts, from, live) {
  const bottom = new Map();
  for (let close = from; close < parts.length; close += 1) {
    const closer = parts[close];
    if (closer.type !== 'run' || !closer.closes || closer.count === 0) continue;
    const key = `${closer.char}${closer.opens}${closer.length % 3}`;
    const open = findOpener(parts, close, bottom.get(key) ?? from);
    if (open < 0) bottom.set(key, close);
    else close = wrap(parts, open, close) - 1;
  }
  if (live && from === 0) closeOpenRuns(parts);
  for (let i = from; i < parts.length; i += 1) parts[i] = unmarked(parts[i]);
}

// Wrap the nodes between two runs. Returns the index to continue at: the closing run may close another one.
function wrap(parts, open, close) {
  const [opener, closer] = [parts[open], parts[close]];
  const two = opener.count >= 2 && closer.count >= 2;
  const size = opener.char === '~' ? opener.count : two ? 2 : 1;
  const type = opener.char === '~' ? 'del' : two ? 'strong' : 'em';
  opener.count -= size;
  closer.count -= size;
  opener.used = closer.used = true;
  // Deeper than any real text: the words stay where they are, without marks.
  if (depthOf(parts, open + 1, close) >= DEEPEST) return close;
  const piece = nested({ type, children: merged(parts.slice(open + 1, close).map(unmarked)) });
  parts.splice(open + 1, close - open - 1, ...piece);
  return open + 1 + piece.length;
}

/** A list of `node` with its depth; deeper than any real text, of its children: keep the words, drop the marks. */
export function nested(node) {
  const depth = 1 + depthOf(node.children);
  return depth > DEEPEST ? node.children : [{ ...node, depth }];
}

function depthOf(parts, from = 0, to = parts.length) {
  let deepest = 0;
  for (let i = from; i < to; i += 1)
    if (typeof parts[i] !== 'string' && parts[i].depth > deepest) deepest = parts[i].depth;
  return deepest;
}

function closeOpenRuns(parts) {
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

// The rest of a run without a partner is text.
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

/** The parts with neighbouring strings joined. Brackets without a partner are text. */
export function merged(parts) {
  const out = [];
  for (const part of parts) {
    const piece = part.type === 'bracket' ? part.text : part;
    if (piece === '') continue;
    if (typeof piece === 'string' && typeof out.at(-1) === 'string') out[out.length - 1] += piece;
    else out.push(piece);
  }
  return out;
}
