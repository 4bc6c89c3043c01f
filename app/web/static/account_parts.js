/** The parts that the pages of the account share: loading, rows, times. */

import { h } from './dom.js';
import { facts as inOneLine, locale, t } from './texts.js';

const moment = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' });
const day = new Intl.DateTimeFormat(locale, { dateStyle: 'medium' });

/** A time for reading, or `otherwise` for none. */
export const time = (text, otherwise) => (text ? moment.format(new Date(text)) : otherwise);
/** A date for reading, or `otherwise` for none. */
export const date = (text, otherwise) => (text ? day.format(new Date(text)) : otherwise);

/**
 * Fill `body` with the nodes of `load()`, a promise. A failure is shown in its place, with a button that tries again.
 */
export async function fill(body, load) {
  body.setAttribute('aria-busy', 'true');
  try {
    body.replaceChildren(...(await load()));
  } catch (problem) {
    const again = h('button', { type: 'button', class: 'link', onclick: () => fill(body, load) }, t('common.again'));
    body.replaceChildren(h('p', { class: 'nothing', role: 'alert' }, problem.message, ' ', again));
  }
  body.removeAttribute('aria-busy');
}

/** A row of a list: a name, what is to be known about it, and a button. */
export function row(name, facts, button = null) {
  const words = h('div', {}, h('strong', {}, name), h('small', {}, inOneLine(facts)));
  return h('li', { class: 'owned' }, words, button);
}

/** A button that runs `action` once; a failure is shown behind it. */
export function actionButton(label, action, attributes = {}) {
  const button = h('button', { type: 'button', class: 'quiet', ...attributes }, label);
  const problem = h('span', { class: 'problem', role: 'alert' });
  button.addEventListener('click', async () => {
    button.disabled = true;
    problem.textContent = '';
    try {
      await action();
    } catch (error) {
      problem.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  });
  return h('span', { class: 'act' }, problem, button);
}
