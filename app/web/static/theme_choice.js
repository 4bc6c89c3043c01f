/** The choice of light or dark, for the menus of both pages. theme.js applies it when a page loads. */

const THEME = 'unbroken.theme';

/** The entries of a menu, as `openMenu` takes them. */
export function themeChoices() {
  const theme = localStorage.getItem(THEME) ?? 'system';
  const choose = (label, value) => ({ label, icon: 'theme', checked: theme === value, action: () => setTheme(value) });
  return [choose('Same as the system', 'system'), choose('Light', 'light'), choose('Dark', 'dark')];
}

function setTheme(value) {
  if (value === 'system') {
    localStorage.removeItem(THEME);
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem(THEME, value);
    document.documentElement.dataset.theme = value;
  }
}
