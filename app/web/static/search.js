/** Search in all messages of the user: hits with the found words marked. */

import * as api from './api.js';
import { announce, h } from './dom.js';
import { t } from './texts.js';

const PAUSE = 200; // milliseconds after the last key, before the search begins
const SHORTEST = 2; // characters of a search

export class Search {
  input;
  #onFound;
  #atHand;
  #timer = null;
  #abort = new AbortController();

  /**
   * `onFound(result)` gets {hits, more}, or null without a search. `atHand(words)` returns hits in the loaded titles,
   * for a server that cannot search now. `onLeave()` is called after Escape, `onDown()` after the arrow down or Enter.
   */
  constructor({ onFound, atHand, onLeave, onDown }) {
    this.#onFound = onFound;
    this.#atHand = atHand;
    this.input = h('input', {
      type: 'search',
      placeholder: t('search.placeholder'),
      'aria-label': t('search.name'),
      autocomplete: 'off',
      spellcheck: 'false',
      maxlength: '200',
      oninput: () => this.#typed(),
      onkeydown: (event) => {
        const action = { ArrowDown: onDown, Enter: onDown, Escape: () => (this.clear(), onLeave()) }[event.key];
        if (!action || event.isComposing) return;
        event.preventDefault();
        event.stopPropagation();
        action();
      },
    });
  }

  focus() {
    this.input.focus();
    this.input.select();
  }

  clear() {
    this.#forget();
    if (this.input.value === '') return;
    this.input.value = '';
    this.#onFound(null);
  }

  #forget() {
    clearTimeout(this.#timer);
    this.#abort.abort();
    this.#abort = new AbortController();
  }

  #typed() {
    this.#forget();
    const words = this.input.value.trim();
    if (words.length < SHORTEST) {
      this.#onFound(null);
      return;
    }
    const { signal } = this.#abort;
    this.#timer = setTimeout(() => this.#find(words, signal), PAUSE);
  }

  async #find(words, signal, cursor = null, before = []) {
    try {
      const { items, next_cursor: next } = await api.search(words, { cursor, signal });
      if (signal.aborted) return;
      const hits = [...before, ...items];
      if (!cursor) announce(found(hits.length, next));
      this.#onFound({ hits, more: next ? () => this.#find(words, signal, next, hits) : null });
    } catch {
      if (!signal.aborted && !cursor) this.#onFound({ hits: this.#atHand(words), more: null });
    }
  }
}

function found(count, more) {
  if (!count) return t('search.none');
  return more ? t('search.found_or_more', { count }) : t('search.found', { count });
}

// Signs of Markdown are removed, because a snippet is not drawn as Markdown.
const plain = (signs) => signs.join('').replace(/\*{2,3}|`+|~~|(?<=^|\s)#{1,6}\s/g, '');

/** The words that a search has found in a hit, each once. */
export function wordsOf({ snippet, highlights = [] }) {
  const signs = [...(snippet ?? '')];
  return [...new Set(highlights.map(([from, to]) => signs.slice(from, to).join('').trim()))].filter(Boolean);
}

/** The pieces of a snippet with the found words marked. Positions count code points, not UTF-16 units. */
export function marked({ snippet, highlights = [] }) {
  const signs = [...(snippet ?? '')];
  const pieces = [];
  let at = 0;
  for (const [from, to] of highlights) {
    pieces.push(plain(signs.slice(at, from)), h('mark', {}, signs.slice(from, to).join('')));
    at = to;
  }
  pieces.push(plain(signs.slice(at)));
  return pieces;
}
