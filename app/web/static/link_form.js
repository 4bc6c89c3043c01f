/** The form that takes a sign-in link: it signs in here, in this window, where opening the link would use another one. */

import { h } from './dom.js';

const LIMIT = 15_000; // milliseconds for the answer of a server that may have frozen
const LINK = /\/signin\/once\/([\w-]+)/;
const REFUSED = {
  404: 'This link is not known here. Links are good for one day.',
  410: 'This link was used before, or it has expired. Have a new one printed.',
  429: 'Too many attempts. Try again in a moment.',
};

/** The form; after the sign-in the page loads again. `isSignedIn()` resolves to whether the server knows this browser. */
export function linkForm(isSignedIn) {
  const input = h('input', {
    type: 'text',
    'aria-label': 'Sign-in link',
    placeholder: 'Or paste the link here',
    autocomplete: 'off',
    spellcheck: 'false',
    inputmode: 'url',
    required: true,
  });
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const button = h('button', { type: 'submit', class: 'primary' }, 'Sign in');
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
  if (!code) return 'This is no sign-in link. A link has /signin/once/ in it.';
  try {
    const signal = AbortSignal.timeout(LIMIT);
    const { ok, status } = await fetch(`/signin/once/${code}`, { method: 'POST', credentials: 'same-origin', signal });
    if (!ok) return REFUSED[status] ?? 'The server has a problem. Try again in a moment.';
    return (await isSignedIn()) ? null : 'This browser did not keep the sign-in.';
  } catch {
    return 'The server cannot be reached. Try again in a moment.';
  }
}
