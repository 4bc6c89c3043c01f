/** The native API of what the list and the chat add to conversations: marks, shares, feedback, imports. */

import { LONG_LIMIT, read, send } from './requests.js';

const part = encodeURIComponent;

/** Remember that the user has seen everything of a conversation. */
export const markSeen = (id) => send('PUT', `/conversations/${part(id)}/seen`, { body: {} });

/** The share of a conversation without its address, or null. */
export async function shareOf(id) {
  try {
    return await read(`/conversations/${part(id)}/share`);
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    return null;
  }
}

/** Share a branch of a conversation as it is now. The reply alone has the address, `url`; an earlier one ends. */
export const share = (id, branch) =>
  send('POST', `/conversations/${part(id)}/share`, { body: branch ? { branch } : {}, take: 'json' });
export const endShare = (id) => send('DELETE', `/conversations/${part(id)}/share`);

/** Rate an answer 1 or -1, with a comment; null takes the rating back. */
export const rate = (id, rating, comment) =>
  send('PUT', `/messages/${part(id)}/feedback`, { body: { rating, comment: comment || null } });

/** Make conversations from an export of this service, ChatGPT or LibreChat, parsed. */
export const importConversations = (body) =>
  send('POST', '/conversations/import', { body, take: 'json', limit: LONG_LIMIT });
