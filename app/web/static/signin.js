/** Signing in: the first view of a visitor, and the dialog over the page of a user whose session has ended. */

import * as api from './api.js';
import { copyButton, h, icon } from './dom.js';
import { linkForm } from './link_form.js';
import { frame, show } from './overlay.js';
import * as session from './session.js';
import { t } from './texts.js';

const COMMAND = 'make signin';
// The tab that signs in for another one; the page of this address closes itself.
const CLOSING = '/signin?close';

const GREETING = {
  title: t('sign_in.title'),
  lead: t('sign_in.lead'),
  ended: t('sign_in.ended'),
};

/** The view of a visitor who is not signed in. `title` and `lead` greet; `ended` is the lead of a user who was here. */
export function signInView({ title, lead: first, ended } = GREETING) {
  const returning = session.userId() !== null;
  const lead = returning ? ended : first;
  return door(
    h('h1', {}, returning ? t('sign_in.back') : title),
    h('p', { class: 'lead' }, lead),
    ways(`${location.pathname}${location.search}`),
  );
}

/** The view of a tab that has signed in for another one. */
export function closingView() {
  queueMicrotask(() => close());
  return door(h('h1', {}, t('sign_in.done')), h('p', { class: 'lead' }, t('sign_in.close_tab')));
}

/** Tell the user over the page that the session has ended. The page and the draft stay; signing in loads it again. */
export function showEnded() {
  const dialog = frame(
    t('sign_in.ended_title'),
    h('p', {}, t('sign_in.ended_about')),
    ways(CLOSING, { target: '_blank', rel: 'opener' }),
  );
  dialog.classList.add('ended');
  dialog.addEventListener('cancel', (event) => event.preventDefault());
  dialog.addEventListener('click', (event) => event.stopImmediatePropagation());
  show(dialog);
}

/** Whether the server accepts this browser's cookie; then the session is kept. */
export async function isSignedIn() {
  try {
    session.signIn(await api.me());
    return true;
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    return false;
  }
}

function door(...content) {
  return h(
    'main',
    { class: 'door' },
    h('div', { class: 'card' }, h('div', { class: 'mark' }, icon('wave'), 'Unbroken'), ...content),
  );
}

// `next`: the address that the sign-in leads to.
function ways(next, attributes = {}) {
  if (document.querySelector('meta[name="sign-in"]')?.content === 'oidc') {
    const href = `/signin/oidc?next=${encodeURIComponent(next)}`;
    return h('p', { class: 'ways' }, h('a', { class: 'primary', href, autofocus: true, ...attributes }, t('sign_in.action')));
  }
  return h(
    'div',
    { class: 'ways' },
    h('p', {}, t('sign_in.open_link')),
    linkForm(isSignedIn),
    h('div', { class: 'help' }, h('p', {}, t('sign_in.command')), command()),
  );
}

const command = () =>
  h(
    'div',
    { class: 'command' },
    h('code', {}, COMMAND),
    copyButton(t('sign_in.copy_command'), () => COMMAND),
  );
