/** The definitions of a text, `[label]: address` and `[^label]: words`, and the labels that its blocks refer to. */

import { safeLink } from './links.js';

const DEFINITION =
  /^ {0,3}\[(?!\^)((?:\\.|[^[\]\\]){1,999})\]:[ \t]*(?:<([^<>]*)>|(\S+))(?:[ \t]+(?:"[^"]*"|'[^']*'|\([^()]*\)))?[ \t]*$/;
const NOTE = /^ {0,3}\[\^([^\]\s]{1,99})\]:[ \t]*(.*)$/;
const CONTINUED = /^(?: {2,}|\t)/;

/** The definition of an address on this line: {label, href}, or null. */
export function definitionOn(line) {
  const match = DEFINITION.exec(line);
  const href = match && safeLink(match[2] ?? match[3]);
  return href ? { label: normal(match[1]), href } : null;
}

/** The footnote that begins on this line: {label, text}, or null. */
export function noteOn(line) {
  const match = NOTE.exec(line);
  return match && { label: normal(match[1]), text: match[2] };
}

/** The lines of the footnote that begins at line `at`: {lines, end}. `endsProse` tells the lines that begin a block. */
export function noteLines(lines, at, endsProse) {
  const body = [noteOn(lines[at]).text];
  let end = at + 1;
  let next = end;
  for (; next < lines.length; next += 1) {
    const line = lines[next];
    if (line.trim() === '') continue;
    const lazy = next === end && body.at(-1).trim() !== '' && !endsProse(line);
    if (!CONTINUED.test(line) && !lazy) break;
    for (; end < next; end += 1) body.push('');
    body.push(line.replace(/^(?: {1,4}|\t)/, ''));
    end = next + 1;
  }
  return { lines: body, end };
}

/** The form in which labels are compared. */
export function normal(label) {
  return label.trim().replace(/\s+/g, ' ').toLowerCase().toUpperCase();
}

/** The definitions of a text that grows. The first one of a label counts. */
export class References {
  #links = new Map(); // label → address
  #notes = new Map(); // label → block
  #asked = new Set(); // labels that the block being drawn has

  /** Take the definitions of these blocks. Returns the labels that mean something else now. */
  define(blocks) {
    const links = new Map();
    const notes = new Map();
    for (const block of blocks) {
      if (block.type === 'definition' && !links.has(block.label)) links.set(block.label, block.href);
      if (block.type === 'note' && !notes.has(block.label)) notes.set(block.label, block);
    }
    const changed = new Set();
    for (const label of new Set([...links.keys(), ...this.#links.keys()]))
      if (links.get(label) !== this.#links.get(label)) changed.add(label);
    for (const label of new Set([...notes.keys(), ...this.#notes.keys()]))
      if (notes.has(label) !== this.#notes.has(label)) changed.add(`^${label}`);
    this.#links = links;
    this.#notes = notes;
    return changed;
  }

  /** The footnotes by their labels, in the order of the text. */
  get notes() {
    return this.#notes;
  }

  /** Collect the labels of a block in `asked` while it is drawn. */
  collect(asked) {
    this.#asked = asked;
  }

  /** The address of a label, or undefined. */
  link(label) {
    const name = normal(label);
    if (name === '') return undefined;
    this.#asked.add(name);
    return this.#links.get(name);
  }

  /** Tells whether a footnote of this label is defined. */
  hasNote(label) {
    this.#asked.add(`^${normal(label)}`);
    return this.#notes.has(normal(label));
  }
}
