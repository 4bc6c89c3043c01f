/** The few tags of HTML that Markdown may have: without attributes, and each becomes the element of its name. */

const TAGS = new Set('b del em i ins kbd mark s samp small strong sub sup u var'.split(' '));
const TAG = /^<(\/?)([a-z]{1,6})>/i;
const DEEPEST = 12; // tags within each other; those beyond are text
// Tags of blocks.js and the line break, which also arrive letter by letter.
const OTHERS = ['br', 'br/', 'br /', 'details', 'summary'];

/** The tag at the beginning of `text`: {name, closes, length}, or null for one that is text. */
export function tagAt(text) {
  const match = TAG.exec(text);
  const name = match?.[2].toLowerCase();
  return TAGS.has(name) ? { name, closes: match[1] !== '', length: match[0].length } : null;
}

/** `text` without the beginning of a tag at its end. */
export function withoutTagBegun(text) {
  const match = /<\/?([a-z]{0,7}|br ?\/?)$/i.exec(text);
  if (!match) return text;
  const begun = match[1].toLowerCase();
  return [...TAGS, ...OTHERS].some((name) => name.startsWith(begun)) ? text.slice(0, match.index) : text;
}

/** The tags that are open in a text, so that a closing one finds its partner without a search. */
export class OpenTags {
  #open = [];
  #counts = new Map();

  /** Remember an opening tag, which is the part `index` of its text; false when it is one too many. */
  add(name, index) {
    if (this.#open.length >= DEEPEST) return false;
    this.#open.push({ name, index });
    this.#count(name, 1);
    return true;
  }

  /** The index of the newest open `name`, and -1 without one. The tags that were opened behind it are text. */
  close(name) {
    if (!this.#counts.get(name)) return -1;
    for (;;) {
      const tag = this.pop();
      if (tag.name === name) return tag.index;
    }
  }

  /** Take the newest open tag, undefined when there is none. */
  pop() {
    const tag = this.#open.pop();
    if (tag) this.#count(tag.name, -1);
    return tag;
  }

  /** Forget the tags from part `index` on: they are inside of a link that was closed. */
  forget(index) {
    while (this.#open.length && this.#open.at(-1).index >= index) this.pop();
  }

  #count(name, step) {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + step);
  }
}
