/** The settings of the page itself: theme, language, titles of tabs, notifications. Each is kept when it is changed. */

import { h } from './dom.js';
import { keepLanguage, keptLanguage, languageName, languages } from './language_choice.js';
import { isAllowed, isOpen, isPossible } from './notifier.js';
import { field, selectBox } from './parameters_form.js';
import { changePreferences } from './preferences.js';
import { t } from './texts.js';
import { themeChoices } from './theme_choice.js';
import { toast } from './toast.js';

/** The section. `tabNames()`: the entry of a menu for names in titles of tabs. */
export function generalPage({ tabNames }) {
  return h('div', { class: 'chat-settings one-column' }, theme(), language(), titles(tabNames), notifications());
}

function theme() {
  const choices = themeChoices();
  const options = choices.map(({ label }, n) => [String(n), label]);
  const chosen = String(choices.findIndex(({ checked }) => checked));
  const choose = ({ target }) => choices[Number(target.value)].action();
  return field(t('settings.theme'), null, selectBox('theme', options, chosen, { onchange: choose }));
}

function language() {
  const options = [['', t('settings.language_browser')], ...languages().map((code) => [code, languageName(code)])];
  const box = selectBox('language', options, keptLanguage() ?? '', { onchange: () => choose() });
  // A screen reader says each name in its own language.
  for (const option of box.options) if (option.value) option.lang = option.value;
  const choose = async () => {
    const code = box.value || null;
    try {
      await changePreferences({ language: code });
    } catch (problem) {
      box.value = keptLanguage() ?? '';
      toast(problem.message);
      return;
    }
    if (keepLanguage(code)) location.reload();
  };
  return field(t('settings.language'), t('settings.language_hint'), box);
}

function titles(tabNames) {
  const { label, checked, action } = tabNames();
  const box = h('input', { type: 'checkbox', checked, onchange: action });
  return h('label', { class: 'switch' }, box, h('span', {}, label), h('small', {}, t('settings.tab_names_hint')));
}

function notifications() {
  const state = h('div', { role: 'status' });
  const draw = () => state.replaceChildren(...permission(draw));
  draw();
  return h(
    'div',
    { class: 'setting', role: 'group', 'aria-label': t('notifications.name') },
    h('h3', {}, t('notifications.name')),
    h('p', {}, t('notifications.about')),
    state,
  );
}

function permission(draw) {
  if (!isPossible()) return [h('p', {}, t('notifications.impossible'))];
  if (isAllowed()) return [h('p', {}, t('notifications.allowed'))];
  if (!isOpen()) return [h('p', {}, t('notifications.refused'))];
  const ask = () => Notification.requestPermission().then(draw);
  return [h('button', { type: 'button', class: 'primary', onclick: ask }, t('notifications.allow'))];
}
