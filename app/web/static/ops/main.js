/** The operators' page: the sign-in view, the console of an operator, or a page for those who are none. */

import { me } from '../api.js';
import { h, icon } from '../dom.js';
import { leave } from '../leaving.js';
import { endInTime } from '../session_end.js';
import { watchSession } from '../session_watch.js';
import * as session from '../session.js';
import { isSignedIn, signInView } from '../signin.js';
import { Console } from './console.js';
import './icons.js';

const ROLES = ['operator', 'support', 'admin'];
const GREETING = {
  title: 'For operators',
  lead: 'Sign in to see what this service is doing, and to act on it.',
  ended: 'Your session has ended. Sign in again to continue.',
};

const root = document.getElementById('app');

let shown = null;

async function begin() {
  // The server adds it to the address after a sign-in.
  if (location.hash === '#signed-in') history.replaceState(history.state, '', location.pathname + location.search);
  try {
    if (!(await isSignedIn())) return showSignIn();
    const account = await me();
    endInTime(account.sign_in.expires_at);
    if (ROLES.includes(account.role)) showConsole(account);
    else showRefusal(account);
  } catch (problem) {
    if (problem.status !== 401) showTrouble(problem);
    else showSignIn();
  }
}

function showConsole(account) {
  shown = new Console(account, recheck);
  root.replaceChildren(shown.node);
  shown.start();
}

// The server refuses: the role may have been taken away.
async function recheck() {
  const account = await me().catch(() => null);
  if (account && !ROLES.includes(account.role)) showRefusal(account);
}

function showSignIn() {
  document.title = 'Sign in · Operators · Unbroken';
  root.replaceChildren(signInView(GREETING));
}

// 403: signed in, and without the role.
function showRefusal(account) {
  shown?.close();
  shown = null;
  document.title = 'Not for you · Operators · Unbroken';
  const who = account.email ?? account.subject;
  showNote(
    'This page is for operators',
    `You are signed in as ${who}, who has no role here (403). Ask an administrator for the role “operator”.`,
    h('a', { href: '/', class: 'primary' }, 'Back to the chat'),
    h('button', { type: 'button', class: 'quiet', onclick: leave }, 'Sign out'),
  );
}

function showTrouble(problem) {
  document.title = 'Operators · Unbroken';
  showNote(
    'This page did not load',
    problem.message,
    h('button', { type: 'button', class: 'primary', onclick: begin }, 'Try again'),
  );
}

function showNote(title, text, ...actions) {
  const note = h('div', { class: 'lost' }, icon('wave'), h('h1', {}, title), h('p', {}, text), actions);
  root.replaceChildren(h('main', { class: 'door' }, note));
  actions[0].focus({ focusVisible: false });
}

watchSession(() => {
  shown?.close();
  return shown !== null;
});

begin();
