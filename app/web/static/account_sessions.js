/** The page of one's own sessions: the browsers that are signed in. */

import * as api from './account_api.js';
import { actionButton, fill, row, time } from './account_parts.js';
import { h } from './dom.js';
import { confirmDialog } from './overlay.js';
import { signOut } from './session.js';

const BROWSERS = [
  ['Edg/', 'Edge'],
  ['Firefox/', 'Firefox'],
  ['Chrome/', 'Chrome'],
  ['Safari/', 'Safari'],
];
const SYSTEMS = ['Android', 'iPhone', 'iPad', 'Windows', 'Mac OS', 'Linux'];

/** The page. */
export function sessionsPage() {
  const list = h('ul', { class: 'owned-list', 'aria-label': 'Sessions' });
  const reload = () => fill(list, () => rows(reload));
  reload();
  const everywhere = async () => {
    const text =
      'All browsers are signed out, this one too, and all tokens that were issued until now end. API keys stay.';
    if (!(await confirmDialog({ title: 'Sign out everywhere?', text, action: 'Sign out everywhere' }))) return;
    await api.endSessions();
    await signOut();
  };
  return h('div', {}, list, actionButton('Sign out everywhere', everywhere, { class: 'danger' }));
}

async function rows(reload) {
  const { items } = await api.sessions();
  return items.map((one) => {
    const end = async () => {
      await api.endSession(one.id);
      reload();
    };
    const facts = [one.address, `last used ${time(one.seen_at)}`, `since ${time(one.created_at)}`];
    const name = `${browser(one.user_agent ?? '')}${one.current ? ' (this browser)' : ''}`;
    return row(name, facts, one.current ? null : actionButton('End', end, { 'aria-label': `End the session ${name}` }));
  });
}

function browser(agent) {
  const name = BROWSERS.find(([mark]) => agent.includes(mark))?.[1] ?? 'Another program';
  const system = SYSTEMS.find((mark) => agent.includes(mark));
  return system ? `${name} on ${system === 'Mac OS' ? 'macOS' : system}` : name;
}
