/** The keyboard shortcuts of the page. */

import { shortcutsDialog, somethingOpen } from './overlay.js';
import { newPath } from './router.js';
import * as session from './session.js';

export class Shortcuts {
  #app;

  /** `app`: the workspace that the shortcuts act on. */
  constructor(app) {
    this.#app = app;
    document.addEventListener('keydown', (event) => this.#key(event));
  }

  #key(event) {
    if (event.defaultPrevented || event.isComposing || somethingOpen() || !session.proof()) return;
    const action = this.#shortcut(event);
    if (!action) return;
    event.preventDefault();
    action();
  }

  #shortcut(event) {
    const { key } = event;
    if (event.ctrlKey || event.metaKey) {
      if (event.shiftKey) return key.toLowerCase() === 'o' ? () => this.#app.router.go(newPath()) : null;
      if (key === 'k') return () => (this.#app.toggleNav(true), this.#app.sidebar.focusSearch());
      if (key === '/') return shortcutsDialog;
      return key === 'b' ? () => this.#app.toggleNav() : null;
    }
    if (event.altKey) return null;
    if (key === 'Escape') return this.#escape();
    if (/^(?:INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return null;
    if (key === '?') return shortcutsDialog;
    return key === '/' ? () => this.#app.focus() : null;
  }

  #escape() {
    if (this.#app.navCovers) return () => this.#app.toggleNav(false);
    return this.#app.chat ? () => this.#app.chat.stop() || this.#app.focus() : null;
  }
}
