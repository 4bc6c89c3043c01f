/** The door: a development token, checked by asking the server who it belongs to. */

import * as api from './api.js';
import { copyButton, h, icon } from './dom.js';
import { secondsLeft, signIn, userId } from './session.js';

const COMMAND = 'make token USER=alice';

/** The sign-in view. `why` says how one came here; `onDone` is called once signed in. */
export function signInView({ why, onDone }) {
  const field = h('textarea', {
    id: 'token',
    rows: '3',
    required: true,
    placeholder: 'eyJ…',
    autocomplete: 'off',
    autocapitalize: 'off',
    spellcheck: 'false',
    'aria-describedby': 'token-help token-problem',
    onkeydown: (event) => {
      if (event.key !== 'Enter') return;
      event.preventDefault();
      form.requestSubmit();
    },
  });
  const problem = h('p', { class: 'problem', id: 'token-problem', role: 'alert', hidden: true });
  const button = h('button', { type: 'submit', class: 'primary' }, 'Sign in');
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.hidden = true;
    try {
      await enter(field.value);
      field.value = '';
      onDone();
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      field.setAttribute('aria-invalid', 'true');
      field.focus();
    } finally {
      button.disabled = false;
    }
  };
  const form = h(
    'form',
    { onsubmit: submit },
    h('label', { for: 'token' }, 'Development token'),
    field,
    problem,
    button,
    h(
      'div',
      { class: 'help', id: 'token-help' },
      h('p', {}, 'Where the server runs, this prints one:'),
      h(
        'div',
        { class: 'command' },
        h('code', {}, COMMAND),
        copyButton('Copy command', () => COMMAND),
      ),
    ),
  );
  queueMicrotask(() => field.focus());
  return h(
    'main',
    { class: 'door' },
    h(
      'div',
      { class: 'card' },
      h('div', { class: 'mark' }, icon('wave'), 'Unbroken'),
      h('h1', {}, why ? 'Welcome back' : 'Answers that keep going'),
      h(
        'p',
        { class: 'lead' },
        why ?? 'Close the tab, lose the network, come back tomorrow: the answer is finished, and it is all here.',
      ),
      form,
    ),
  );
}

async function enter(pasted) {
  const token = pasted.trim().replace(/^Bearer\s+/i, '');
  if (!/^[\w-]+\.[\w-]+\.[\w-]*$/.test(token))
    throw new Error('That does not look like a token: it has three parts with dots between them.');
  if ((secondsLeft(token) ?? 1) <= 0) throw new Error('This token has expired. Print a new one.');
  let me;
  try {
    me = await api.me(token);
  } catch (error) {
    throw error.status === 401 ? new Error('The server does not accept this token. Is it from this instance?') : error;
  }
  signIn(token, String(me.id ?? me.user_id ?? me.sub));
}

/** Why somebody who was signed in sees the door. */
export const expiredText = () =>
  userId() ? 'Your session has ended. Sign in again to go on where you were; what you were writing is kept.' : null;
