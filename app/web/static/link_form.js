/** The form that takes a sign-in link: it signs in here, in this window, where opening the link would use another one. */

import { h } from './dom.js';
import { t } from './texts.js';

const LIMIT = 15_000; // milliseconds for the answer of a server that may have frozen
const LINK = /\/signin\/once\/([\w-]+)/;
const REFUSED = {
  404: t('link.unknown'),
  410: t('link.used'),
  429: t('link.too_many'),
};

/** The form; after the sign-in the page loads again. `isSignedIn()` resolves to whether the server knows this browser. */
export function linkForm(isSignedIn) {
  const input = h('input', {
    type: 'text',
    'aria-label': t('link.name'),
    placeholder: t('link.placeholder'),
    autocomplete: 'off',
    spellcheck: 'false',
    inputmode: 'url',
    required: true,
  });
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const button = h('button', { type: 'submit', class: 'primary' }, t('sign_in.action'));
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    const words = await signInWith(input.value, isSignedIn);
    button.disabled = false;
    problem.hidden = words === null;
    problem.textContent = words ?? '';
    if (words === null) location.reload();
    else input.focus();
  };
  return h('form', { class: 'link-form', onsubmit: submit }, h('div', {}, input, button), problem);
}

// Resolves to the reason that nobody is signed in, or to null.
async function signInWith(text, isSignedIn) {
  const code = LINK.exec(text)?.[1];
  if (!code) return t('link.none');
  try {
    const signal = AbortSignal.timeout(LIMIT);
    const { ok, status } = await fetch(`/signin/once/${code}`, { method: 'POST', credentials: 'same-origin', signal });
    if (!ok) return REFUSED[status] ?? t('link.trouble');
    return (await isSignedIn()) ? null : t('link.not_kept');
  } catch {
    return t('link.unreachable');
  }
}
