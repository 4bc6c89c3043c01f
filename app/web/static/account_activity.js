/** The page of one's own part of the audit. */

import * as api from './account_api.js';
import { actionButton, fill, row, time } from './account_parts.js';
import { h } from './dom.js';
import { known, t } from './texts.js';

/** The page. `account`: the reply of GET /me. */
export function activityPage({ id }) {
  const body = h('div', {});
  fill(body, async () => {
    const list = h('ul', { class: 'owned-list', 'aria-label': t('activity.name') });
    let cursor = await append(list, id);
    const older = async () => {
      cursor = await append(list, id, cursor);
      more.hidden = !cursor;
    };
    const more = actionButton(t('activity.older'), older, { class: 'link' });
    more.hidden = !cursor;
    return [list, more];
  });
  return body;
}

// Add the page behind `cursor` to the list. Returns the cursor of the next page, or null.
async function append(list, me, cursor) {
  const { items, next_cursor: next } = await api.activity(cursor);
  list.append(...items.map((item) => entry(item, me)));
  if (!list.children.length) list.append(h('li', { class: 'nothing' }, t('activity.none')));
  return next;
}

function entry({ action, actor_id: actor, address, at, object_kind: kind }, me) {
  const doer = actor === me ? t('activity.you') : actor ? t('activity.administrator') : t('activity.service');
  return row(sentence(action, kind), [time(at), t('activity.by', { doer }), address && t('activity.from', { address })]);
}

// "session.ended" → "Session ended"
function sentence(action, kind) {
  const key = known(`audit.${action}`);
  if (key) return t(key);
  const words = (action || kind).replaceAll('_', ' ').replace('.', ' ');
  return words[0].toUpperCase() + words.slice(1);
}
