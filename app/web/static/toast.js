/** A short note over the page, for a problem that belongs to no place on it. */

import { h } from './dom.js';

const SHOWN = 6000; // milliseconds

export function toast(text) {
  const note = h('div', { class: 'toast', role: 'alert', popover: 'manual' }, text);
  document.body.append(note);
  note.showPopover();
  setTimeout(() => note.remove(), SHOWN);
}
