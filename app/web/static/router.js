/** Addresses of the page, both ways. */

const PLACES = [
  [/^\/(?:new)?\/?$/, () => ({ name: 'new', model: null })],
  [/^\/c\/([^/]+)\/?$/, (id) => ({ name: 'conversation', id, model: null })],
  [/^\/m\/([^/]+)\/new\/?$/, (model) => ({ name: 'new', model })],
  [/^\/m\/([^/]+)\/c\/([^/]+)\/?$/, (model, id) => ({ name: 'conversation', id, model })],
];

/** What an address shows: {name: 'new' | 'conversation' | 'nowhere', id?, model?}. */
export function place(pathname) {
  for (const [pattern, make] of PLACES) {
    const match = pattern.exec(pathname);
    if (match) return make(...match.slice(1).map(decode));
  }
  return { name: 'nowhere' };
}

export const newPath = (model = null) => (model ? `/m/${encodeURIComponent(model)}/new` : '/new');
export const conversationPath = (id, model = null) =>
  model ? `/m/${encodeURIComponent(model)}/c/${encodeURIComponent(id)}` : `/c/${encodeURIComponent(id)}`;

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Calls `onPlace` for every move: a followed link, back, forward, `go`. */
export class Router {
  #onPlace;

  constructor(onPlace) {
    this.#onPlace = onPlace;
    addEventListener('popstate', () => this.refresh());
    document.addEventListener('click', (event) => this.#click(event));
  }

  /** Go to an address of the page. */
  go(path, { replace = false } = {}) {
    if (replace) history.replaceState(null, '', path);
    else if (path !== location.pathname + location.hash) history.pushState(null, '', path);
    this.refresh();
  }

  /** Change the address under what is shown, without showing anything else. */
  rename(path) {
    history.replaceState(null, '', path);
  }

  /** What the address points at in what it shows: the id of a message, or ''. */
  get part() {
    return location.hash.slice(1);
  }

  /** Show the current address again. */
  refresh() {
    this.#onPlace(place(location.pathname));
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
    if (url.origin !== location.origin || place(url.pathname).name === 'nowhere') return;
    event.preventDefault();
    this.go(url.pathname + url.hash);
  }
}
