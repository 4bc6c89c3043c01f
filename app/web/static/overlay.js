/** Menus and dialogs. The browser's popover and dialog handle focus, Escape and clicks outside. */

import { h, icon } from './dom.js';
import { forward, t } from './texts.js';

/** Whether a dialog or a menu is open, which takes the keyboard. */
export const somethingOpen = () => document.querySelector('dialog[open], :popover-open') !== null;

/**
 * A menu under `anchor`. `items`: {label, icon?, note?, marks?, action, danger?, checked?}, or null for a line. `marks`
 * are short words under the note. The focus goes to the checked item, or to the first.
 */
export function openMenu(anchor, items, { label = null } = {}) {
  const menu = h('div', { class: 'menu', role: 'menu', popover: 'auto', 'aria-label': label });
  const close = () => menu.hidePopover();
  for (const item of items) menu.append(item ? entry(item, close) : h('hr'));
  menu.addEventListener('keydown', (event) => moveFocus(event, menu));
  menu.addEventListener('toggle', (event) => {
    if (event.newState === 'open') return;
    anchor.setAttribute('aria-expanded', 'false');
    if (menu.contains(document.activeElement) || document.activeElement === document.body) anchor.focus();
    menu.remove();
  });
  document.body.append(menu);
  menu.showPopover();
  anchor.setAttribute('aria-expanded', 'true');
  position(menu, anchor);
  const first = menu.querySelector('[data-first]') ?? menu.querySelector('button');
  // A list that scrolls has to have something in it that the keyboard reaches.
  first.tabIndex = 0;
  first.focus({ focusVisible: false });
}

function entry({ label, icon: name, note, marks = [], action, danger, checked }, close) {
  const role = checked === undefined ? 'menuitem' : 'menuitemradio';
  const attributes = { type: 'button', role, class: danger ? 'danger' : null, tabindex: '-1' };
  if (checked !== undefined) attributes['aria-checked'] = String(checked);
  const run = () => {
    close();
    action();
  };
  const sign = checked ? icon('check') : name ? icon(name) : h('span', { class: 'icon' });
  const more = [note && h('small', {}, note), marks.length > 0 && markList(marks)].filter(Boolean);
  const words = more.length ? h('span', { class: 'noted' }, label, more) : label;
  // Only in a list of choices, not for choices among other entries.
  if (checked && !name) attributes['data-first'] = true;
  return h('button', { ...attributes, onclick: run }, sign, words);
}

const markList = (marks) =>
  h(
    'span',
    { class: 'marks' },
    marks.map((mark) => h('span', {}, mark)),
  );

function moveFocus(event, menu) {
  const buttons = [...menu.querySelectorAll('button')];
  const at = buttons.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (to === undefined) {
    if (event.key === 'Tab') menu.hidePopover();
    return;
  }
  event.preventDefault();
  buttons.at(to % buttons.length).focus();
}

function position(menu, anchor) {
  const [from, size, gap] = [anchor.getBoundingClientRect(), menu.getBoundingClientRect(), 6];
  const below = from.bottom + gap + size.height <= innerHeight;
  // The menu begins where its anchor begins, which is at the right in a right-to-left language.
  const begin = forward > 0 ? from.left : from.right - size.width;
  const left = Math.max(8, Math.min(begin, innerWidth - size.width - 8));
  menu.style.left = `${left}px`;
  menu.style.top = `${below ? from.bottom + gap : Math.max(8, from.top - gap - size.height)}px`;
}

/** Show a dialog made by `frame`, and remove it when it closes. Resolves to its return value. */
export function show(dialog) {
  document.body.append(dialog);
  dialog.showModal();
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close('');
  });
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
}

/** A dialog with a title and some content, to be shown. */
export function frame(title, ...content) {
  return h('dialog', { 'aria-label': title }, h('div', { class: 'sheet' }, h('h2', {}, title), content));
}

/** Let the user confirm an action that cannot be undone. Resolves to true or false. */
export async function confirmDialog({ title, text, action }) {
  const dialog = frame(title, h('p', {}, text));
  const button = (label, value, style) =>
    h('button', { type: 'button', class: style, onclick: () => dialog.close(value) }, label);
  dialog.firstChild.append(
    h('div', { class: 'choices' }, button(t('common.cancel'), '', 'quiet'), button(action, 'yes', 'danger')),
  );
  return (await show(dialog)) === 'yes';
}

/** Let the user enter a line of text. Resolves to it, or to null. */
export async function promptDialog({ title, label, value, action }) {
  const input = h('input', {
    type: 'text',
    value,
    'aria-label': label,
    maxlength: '200',
    autocomplete: 'off',
    autofocus: true,
  });
  const submit = (event) => {
    event.preventDefault();
    dialog.close(input.value.trim());
  };
  const choices = h(
    'div',
    { class: 'choices' },
    h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close('') }, t('common.cancel')),
    h('button', { type: 'submit', class: 'primary' }, action),
  );
  const dialog = frame(title, h('form', { onsubmit: submit }, input, choices));
  const answer = show(dialog);
  input.select();
  return (await answer) || null;
}

const MOD = /Mac|iPhone|iPad/.test(navigator.platform) ? '⌘' : t('key.control');

export const SHORTCUTS = [
  [t('composer.send_message'), [t('key.enter')]],
  [t('shortcuts.new_line'), [t('key.shift'), t('key.enter')]],
  [t('composer.stop'), [t('key.escape')]],
  [t('shortcuts.edit'), ['↑']],
  [t('shortcuts.box'), ['/']],
  [t('common.new_chat'), [MOD, t('key.shift'), 'O']],
  [t('search.name'), [MOD, 'K']],
  [t('shortcuts.list'), [MOD, 'B']],
  [t('shortcuts.move'), ['↑', '↓']],
  [t('shortcuts.in_list'), ['P', 'F2', 'T']],
  [t('shortcuts.in_list_more'), ['E', t('key.delete')]],
  [t('shortcuts.these'), [MOD, '/']],
];

/** Show the keyboard shortcuts. */
export function shortcutsDialog() {
  const rows = SHORTCUTS.map(([what, keys]) =>
    h(
      'div',
      {},
      h('dt', {}, what),
      h(
        'dd',
        {},
        keys.map((key) => h('kbd', {}, key)),
      ),
    ),
  );
  const dialog = frame(t('account.shortcuts'), h('dl', { class: 'shortcuts' }, rows));
  dialog.firstChild.append(
    h(
      'div',
      { class: 'choices' },
      h('button', { type: 'button', class: 'quiet', autofocus: true, onclick: () => dialog.close('') }, t('common.close')),
    ),
  );
  return show(dialog);
}
