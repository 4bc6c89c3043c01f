/** The native API of what the list and the chat add to conversations. */

import { send } from './requests.js';

const part = encodeURIComponent;

/** Remember that the user has seen everything of a conversation. */
export const markSeen = (id) => send('PUT', `/conversations/${part(id)}/seen`, { body: {} });
