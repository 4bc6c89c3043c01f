/** The page of one's own sessions: the browsers that are signed in. */

import * as api from './account_api.js';
import { actionButton, fill, row, time } from './account_parts.js';
import { h } from './dom.js';
import { confirmDialog } from './overlay.js';
import { signOut } from './session.js';
import { t } from './texts.js';

const BROWSERS = [
  ['Edg/', 'Edge'],
  ['Firefox/', 'Firefox'],
  ['Chrome/', 'Chrome'],
  ['Safari/', 'Safari'],
];
const SYSTEMS = ['Android', 'iPhone', 'iPad', 'Windows', 'Mac OS', 'Linux'];

/** The page. */
export function sessionsPage() {
  const list = h('ul', { class: 'owned-list', 'aria-label': t('sessions.name') });
  const reload = () => fill(list, () => rows(reload));
  reload();
  const everywhere = async () => {
    const text =
      t('sessions.everywhere_about');
    if (!(await confirmDialog({ title: t('sessions.everywhere_title'), text, action: t('sessions.everywhere') }))) return;
    await api.endSessions();
    await signOut();
  };
  return h('div', {}, list, actionButton(t('sessions.everywhere'), everywhere, { class: 'danger' }));
}

async function rows(reload) {
  const { items } = await api.sessions();
  return items.map((one) => {
    const end = async () => {
      await api.endSession(one.id);
      reload();
    };
    const facts = [
      one.address,
      t('keys.last_used', { time: time(one.seen_at) }),
      t('sessions.since', { time: time(one.created_at) }),
    ];
    const agent = browser(one.user_agent ?? '');
    const name = one.current ? t('sessions.current', { browser: agent }) : agent;
    return row(name, facts, one.current ? null : actionButton(t('common.end'), end, { 'aria-label': t('sessions.end', { name }) }));
  });
}

function browser(agent) {
  const name = BROWSERS.find(([mark]) => agent.includes(mark))?.[1] ?? t('sessions.other_program');
  const system = SYSTEMS.find((mark) => agent.includes(mark));
  return system ? t('sessions.on', { browser: name, system: system === 'Mac OS' ? 'macOS' : system }) : name;
}
