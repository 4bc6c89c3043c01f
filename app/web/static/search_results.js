/** What the list shows of a search: up to three hits of each conversation, the conversation's name above the first. */

import { shortTime } from './groups.js';

const MOST = 3; // hits of a conversation

/** Entries of the list for `hits`; `entryOf(hit)` is the entry of a hit's conversation. */
export function entriesOf(hits, entryOf) {
  return [...byConversation(hits).values()].flatMap((members) =>
    members.slice(0, MOST).map((hit, n) => {
      const key = `found ${hit.conversation_id} ${hit.message_id ?? ''}`;
      const time = hit.created_at ? shortTime(Date.parse(hit.created_at)) : '';
      return { ...entryOf(hit), key, hit, follows: n > 0, ...(hit.message_id ? { time } : {}) };
    }),
  );
}

// A title that fits is shown by itself only when no message fits.
function byConversation(hits) {
  const groups = new Map();
  for (const hit of hits) {
    const group = groups.get(hit.conversation_id) ?? [];
    groups.set(hit.conversation_id, group);
    group.push(hit);
  }
  for (const [id, group] of groups) {
    const messages = group.filter((hit) => hit.message_id);
    if (messages.length) groups.set(id, messages);
  }
  return groups;
}
