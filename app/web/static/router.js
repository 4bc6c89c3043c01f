/** Addresses of the page: from a place to its path and back. */

const SETTINGS = 'general';
const TEMPORARY = '?temporary';
const PLACES = [
  [/^\/(?:new)?\/?$/, () => ({ name: 'new', model: null })],
  [/^\/settings(?:\/([\w-]+))?\/?$/, (section = SETTINGS) => ({ name: 'settings', section })],
  [/^\/c\/([^/]+)\/?$/, (id) => ({ name: 'conversation', id, model: null })],
  [/^\/m\/([^/]+)\/new\/?$/, (model) => ({ name: 'new', model })],
  [/^\/m\/([^/]+)\/c\/([^/]+)\/?$/, (model, id) => ({ name: 'conversation', id, model })],
];

/** The place of an address: {name: 'new' | 'conversation' | 'settings' | 'nowhere', id?, model?, section?, temporary}. */
export function place({ pathname, search = '' }) {
  const temporary = search === TEMPORARY;
  for (const [pattern, make] of PLACES) {
    const match = pattern.exec(pathname);
    if (match) return { ...make(...match.slice(1).map((part) => part && decode(part))), temporary };
  }
  return { name: 'nowhere', temporary };
}

/** The address of a new chat, with a model, and perhaps temporary. */
export const newPath = (model = null, { temporary = false } = {}) =>
  `${model ? `/m/${encodeURIComponent(model)}/new` : '/new'}${temporary ? TEMPORARY : ''}`;
export const settingsPath = () => '/settings';
export const conversationPath = (id, model = null) =>
  model ? `/m/${encodeURIComponent(model)}/c/${encodeURIComponent(id)}` : `/c/${encodeURIComponent(id)}`;

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * Calls `onPlace` for every move: a followed link, back, forward, `go`. `placeOf(url)` is the place of an address; a link
 * to nowhere is the browser's.
 */
export class Router {
  #onPlace;
  #placeOf;

  constructor(onPlace, placeOf = place) {
    this.#onPlace = onPlace;
    this.#placeOf = placeOf;
    addEventListener('popstate', () => this.refresh());
    document.addEventListener('click', (event) => this.#click(event));
  }

  /** Go to an address of the page. */
  go(path, { replace = false } = {}) {
    if (replace) history.replaceState(null, '', path);
    else if (path !== location.pathname + location.search + location.hash) history.pushState(null, '', path);
    this.refresh();
  }

  /** Change the address. The page stays as it is. */
  rename(path) {
    history.replaceState(null, '', path);
  }

  /** The id of the message in the address, or ''. */
  get part() {
    return location.hash.slice(1);
  }

  /** Show the place of the current address. */
  refresh() {
    this.#onPlace(this.#placeOf(location));
  }

  #click(event) {
    if (
      event.defaultPrevented ||
      event.button !== 0 ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return;
    const link = event.target.closest?.('a[href]');
    if (!link || link.target || link.hasAttribute('download')) return;
    const url = new URL(link.href);
    if (url.origin !== location.origin || this.#placeOf(url).name === 'nowhere') return;
    event.preventDefault();
    this.go(url.pathname + url.search + url.hash);
  }
}
