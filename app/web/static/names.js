/** Names of conversations. */

const LONGEST_NAME = 60; // characters

/** The title of a conversation; before it has one, the beginning of its first message or of its newest one. */
export function nameOf({ title, asked, preview }) {
  if (title) return title;
  const words = (asked ?? preview ?? '')
    .replace(/[#*`>_~|]+/g, '')
    .replace(/\s+/g, ' ')
    .trim();
  if (words.length <= LONGEST_NAME) return words || 'New chat';
  return `${words.slice(0, LONGEST_NAME).replace(/\s+\S*$/, '')}…`;
}
