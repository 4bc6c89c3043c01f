/**
 * The texts of the page, in the language that the server has chosen for it (app/web/languages.py). English is always
 * here; the module of another language stands before the page's own in the document, and calls `speak`.
 */

import ENGLISH from './texts/en.js';

const PLACE = /\{(\w+)\}/;
// Marks that keep a name in another script from turning the words around it.
const [ISOLATE, END] = ['\u2068', '\u2069'];

let language = 'en';
let texts = ENGLISH;
let plurals = new Intl.PluralRules('en');
let numbers;

/** The language for dates and numbers: the reader's own kind of the page's language. */
export let locale;

/** 1 where lines go from left to right, otherwise -1. */
export let forward;

/** Use another language. Modules take their texts when they are loaded, so this comes before them. */
export function speak(code, catalogue) {
  language = code;
  texts = { ...ENGLISH, ...catalogue };
  locale = globalThis.navigator?.languages?.find((each) => each.split('-')[0] === code) ?? code;
  forward = catalogue.direction === 'rtl' ? -1 : 1;
  plurals = new Intl.PluralRules(code);
  numbers = new Intl.NumberFormat(locale);
}

speak('en', ENGLISH);

/** The text of a key. `values` fill its places; `count` also chooses the form of a plural. */
export function t(key, values = {}) {
  return pieces(key, values).join('');
}

/** The text of a key as children for `h`: values may be nodes, or lists of them. */
export function parts(key, values) {
  return pieces(key, values);
}

/** The key, where there is a text for it; otherwise null. */
export const known = (key) => (key in texts ? key : null);

/** The code of the page's language. */
export const spoken = () => language;

function pieces(key, values) {
  const text = texts[key] ?? key;
  const form = typeof text === 'string' ? text : (text[plurals.select(values.count)] ?? text.other);
  // Every second piece is the name of a place.
  return form.split(PLACE).map((piece, n) => (n % 2 ? shown(values[piece]) : piece));
}

/** Facts in one line, each in the direction of its own letters. Those that are empty are left out. */
export const facts = (list) => list.filter(Boolean).map(isolated).join(' · ');

function shown(value) {
  if (typeof value === 'number') return numbers.format(value);
  return typeof value === 'string' ? isolated(value) : value;
}

const isolated = (text) => (forward < 0 ? `${ISOLATE}${text}${END}` : text);
