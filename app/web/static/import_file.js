/** Reads a file with conversations, and imports them in parts that the server takes. */

import { importConversations } from './conversations_api.js';
import { t } from './texts.js';
import { isZip, textsOf } from './zip_file.js';

const LARGEST_PART = 8 * 1024 * 1024; // characters of a request; the server's limit is 32 MB
const MOST = 500; // conversations of a request; the server's limit is 1000
const LARGEST_TEXT = 1024 * 1024 * 1024; // bytes of a text in an archive
const NAMES = /(?:^|\/)[^/]*conversations?[^/]*\.json$/i;

/** The exports in a file: each a conversation, or a list of them. Throws an Error with the reason. */
export async function exportsIn(file) {
  if (!(await isZip(file))) return [parsed(await file.text())];
  const texts = await textsOf(file, NAMES, LARGEST_TEXT);
  if (texts.length === 0) throw new Error(t('import.no_conversations'));
  return texts.map(parsed);
}

/**
 * Import what `exportsIn` has returned. `onProgress(part)` gets a number from 0 to 1. Resolves to {conversations,
 * messages, skipped: [{title, reason}]}. A Problem that ends it has the same of the parts before it, as `cameIn`.
 */
export async function importAll(found, onProgress) {
  const parts = found.flatMap(partsOf);
  const whole = { conversations: [], messages: 0, skipped: [] };
  for (const [n, part] of parts.entries()) {
    onProgress(n / parts.length);
    const reply = await importConversations(part).catch((problem) => {
      throw Object.assign(problem, { cameIn: n ? whole : null });
    });
    add(whole, reply);
  }
  return whole;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(t('import.not_json'));
  }
}

// A long list is imported in several requests; one conversation is never cut.
function partsOf(exported) {
  if (!Array.isArray(exported)) return [exported];
  const parts = [];
  let room = 0;
  for (const conversation of exported) {
    const { length } = JSON.stringify(conversation);
    if (length > room || parts.at(-1).length >= MOST) {
      parts.push([]);
      room = LARGEST_PART;
    }
    parts.at(-1).push(conversation);
    room -= length;
  }
  return parts;
}

// A conversation of this service is answered with itself, all others with a summary.
function add(whole, reply) {
  const { conversations = [reply], messages = 0, skipped = [] } = reply;
  whole.conversations.push(...conversations);
  whole.messages += messages;
  whole.skipped.push(...skipped);
}
