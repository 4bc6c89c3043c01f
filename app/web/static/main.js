/** The page: the sign-in view, or the workspace of the user who is signed in. */

import { h } from './dom.js';
import { followPreferences } from './preferences.js';
import * as session from './session.js';
import { closingView, isSignedIn, signInView } from './signin.js';
import { watchSession } from './session_watch.js';
import { t } from './texts.js';
import { Workspace } from './workspace.js';

// The server adds it to the address after a sign-in, perhaps as another user than this browser's last one.
const SIGNED_IN = '#signed-in';

const root = document.getElementById('app');

let workspace = null;

async function begin() {
  const isNew = location.hash === SIGNED_IN;
  if (isNew) history.replaceState(history.state, '', location.pathname + location.search);
  // A session that this browser knows is shown at once; the workspace asks the server about it.
  const known = session.proof() && !isNew && location.pathname !== '/signin';
  try {
    if (known) showPage();
    else if (!(await isSignedIn())) showSignIn();
    // A browser that is new to the user begins in the user's language.
    else if (!(await followPreferences().catch(() => false))) showPage();
  } catch (problem) {
    showTrouble(problem);
  }
}

function showPage() {
  if (location.pathname === '/signin') {
    if (new URLSearchParams(location.search).has('close')) return root.replaceChildren(closingView());
    history.replaceState(null, '', '/');
  }
  workspace = new Workspace();
  root.replaceChildren(workspace.node);
  return workspace.start();
}

function showSignIn() {
  document.title = `${t('sign_in.action')} · Unbroken`;
  root.replaceChildren(signInView());
}

function showTrouble(problem) {
  const again = h('button', { type: 'button', class: 'primary', onclick: begin }, t('common.again'));
  const note = h('div', { class: 'lost' }, h('h1', {}, t('page.not_loaded')), h('p', {}, problem.message), again);
  root.replaceChildren(h('main', { class: 'door' }, note));
}

watchSession(() => {
  workspace?.close();
  return workspace !== null;
});

begin();
