/** The choice of light or dark, for the settings and the operators' menu. theme.js applies it when a page loads. */

import { send } from './requests.js';
import { t } from './texts.js';

const THEME = 'unbroken.theme';
const THEMES = [
  ['system', t('theme.system')],
  ['light', t('theme.light')],
  ['dark', t('theme.dark')],
];

/** The entries of a menu, as `openMenu` takes them. */
export function themeChoices() {
  const theme = localStorage.getItem(THEME) ?? 'system';
  return THEMES.map(([value, label]) => ({
    label,
    icon: 'theme',
    checked: theme === value,
    action: () => chooseTheme(value),
  }));
}

/** Show this browser's pages in a theme: system, light or dark. */
export function showTheme(value) {
  if (value === 'system') {
    localStorage.removeItem(THEME);
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem(THEME, value);
    document.documentElement.dataset.theme = value;
  }
}

// The other browsers of the user take it over when they load the page; this one has it in any case.
function chooseTheme(theme) {
  showTheme(theme);
  send('PATCH', '/me/preferences', { body: { theme } }).catch(() => null);
}
