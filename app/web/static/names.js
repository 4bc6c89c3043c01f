/** Names of conversations. */

import { t } from './texts.js';

const LONGEST_NAME = 60; // characters
// Marks of headings, quotes and lists at the beginning of a line.
const BLOCK_MARKS = /^\s*(?:#{1,6}\s+|>\s?|[-*+]\s+(?:\[[ xX]\]\s+)?)+/gm;
// A sign behind a backslash stays, as $1. An underscore inside a word is one of its letters, a star between spaces a sign.
const INLINE_MARKS = /\\([!-/:-@[-`{-~])|(?<![\p{L}\p{N}])_+|_+(?![\p{L}\p{N}])|\*+(?=\S)|(?<=\S)\*+|`+|~~|\||:?-{3,}:?/gu;

/** The title of a conversation; before it has one, the beginning of its first message or of its newest one. */
export function nameOf({ title, asked, preview }) {
  if (title) return title;
  const words = plain(asked ?? preview);
  if (words.length <= LONGEST_NAME) return words || t('common.new_chat');
  return `${words.slice(0, LONGEST_NAME).replace(/\s+\S*$/, '')}…`;
}

/** A text in one line, without the signs of Markdown. */
export const plain = (text) =>
  (text ?? '')
    .replace(/`{3,}[\w+-]*/g, '')
    .replace(BLOCK_MARKS, '')
    .replace(INLINE_MARKS, '$1')
    .replace(/\s+/g, ' ')
    .trim();

/** The words of a message for a name; a message without words has the name of its first file. */
export const askedIn = (message) => message?.content || message?.attachments?.[0]?.filename;
