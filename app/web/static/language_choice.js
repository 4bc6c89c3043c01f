/** The language of the page as this browser keeps it: in a cookie, so that the server knows it before the first byte. */

import { spoken } from './texts.js';

const COOKIE = 'unbroken-language';
const YEAR = 31_536_000; // seconds
const PLACE = 'path=/; samesite=lax';
const drawnWith = keptLanguage(); // when the server chose the texts of this document

/** The codes of the languages that the page has. */
export const languages = () => document.querySelector('meta[name="languages"]')?.content.split(' ') ?? [];

/** The name of a language, in itself. */
export const languageName = (code) => new Intl.DisplayNames(code, { type: 'language' }).of(code);

/** The code that this browser keeps, or null. */
export function keptLanguage() {
  return document.cookie.match(/(?:^|; )unbroken-language=([\w-]+)/)?.[1] ?? null;
}

/** Keep a language; null leaves the choice to the browser's own. Returns whether the page has to be loaded again. */
export function keepLanguage(wanted) {
  const code = offered(wanted);
  if (code === undefined) return false;
  if (code === null) forgetLanguage();
  else document.cookie = `${COOKIE}=${code}; max-age=${YEAR}; ${PLACE}`;
  // A browser that keeps no cookie would load the page for ever.
  if (keptLanguage() !== code) return false;
  // A page whose texts did not load still speaks English; another load would not end that.
  return drawnWith !== code && code !== spoken();
}

// `de` for `de-CH`; undefined for a language that the page does not have.
const offered = (wanted) =>
  wanted && [wanted, wanted.split('-')[0].toLowerCase()].find((code) => languages().includes(code));

/** Leave the language to the browser from the next page on. Returns the code that is kept all the same, or null. */
export function forgetLanguage() {
  document.cookie = `${COOKIE}=; max-age=0; ${PLACE}`;
  // A browser may write later than a page is left; reading waits for it.
  return keptLanguage();
}
