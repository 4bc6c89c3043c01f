/** The choices of a user that all browsers of the user share; this browser keeps those that the page needs at once. */

import { keepLanguage } from './language_choice.js';
import { read, send } from './requests.js';
import { proof } from './session.js';
import { showTheme } from './theme_choice.js';

export const preferences = () => read('/me/preferences');
/** Change choices; null takes one back. */
export const changePreferences = (fields) => send('PATCH', '/me/preferences', { body: fields, take: 'json' });

/** Take over the choices that were made in other browsers. Returns whether the page is loaded again for them. */
export async function followPreferences() {
  const { theme, language } = await preferences();
  // The user may have signed out meanwhile, and then nothing of the user is kept.
  if (!proof()) return false;
  if (theme) showTheme(theme);
  if (!keepLanguage(language)) return false;
  location.reload();
  return true;
}
