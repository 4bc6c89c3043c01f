/** The addresses of links in Markdown: their notation, where a bare one ends, and which may be followed. */

// Marks that end a bare link. Chinese and Japanese have no space before them, and an address has none of them.
const WIDE_MARKS =
  '\\u2018-\\u201F\\u2026\\u3000-\\u3004\\u3008-\\u3020\\u3030\\uFF01-\\uFF0F\\uFF1A-\\uFF20\\uFF3B-\\uFF40\\uFF5B-\\uFF65';
const BARE_LINK = new RegExp(`^https?:\\/\\/[^\\s<>${WIDE_MARKS}]+`);
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

/** `(destination "title")` behind a bracket at `at`: {href, end}, or null. */
export function linkTarget(text, at) {
  if (text[at] !== '(') return null;
  if (text.startsWith('(data:image/', at)) return dataTarget(text, at);
  const match = TARGET.exec(text.slice(at, at + 4096));
  if (!match) return null;
  return { href: (match[1] ?? match[2]).replace(/\\([!-/:-@[-`{-~])/g, '$1'), end: at + match[0].length };
}

// A picture as data is longer than any link, and base64 has no brackets.
function dataTarget(text, at) {
  const end = text.indexOf(')', at);
  return end < 0 ? null : { href: text.slice(at + 1, end), end: end + 1 };
}

/** The bare link at the beginning of `text`, without the marks of the sentence around it, or null. */
export function bareLink(text) {
  const match = BARE_LINK.exec(text);
  return match && trimmed(match[0]);
}

/** A link around `children`, a picture with its data, or only `children` where the address may not be followed. */
export function linked(href, children, image = false) {
  const label = image && children.length === 0 ? ['image'] : children;
  if (image && href.startsWith('data:image/')) return { type: 'picture', href, children: label };
  const safe = safeLink(href);
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
