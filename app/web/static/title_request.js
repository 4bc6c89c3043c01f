/** Asks for the title of a new conversation where no feed reports it: a worker writes it behind the end of the stream. */

import * as api from './api.js';

/** The title, asked for after each of the `pauses` in milliseconds; null when there is none, or when `isOver()`. */
export async function requestTitle(id, pauses, isOver) {
  for (const pause of pauses) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    if (isOver()) return null;
    const { title } = await api.conversation(id).catch(() => ({}));
    if (title) return title;
  }
  return null;
}
