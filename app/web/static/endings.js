/** What became of an answer, as a plain object: decided from its status, finish reason, error and text. No nodes. */

import { explainError } from './explanations.js';
import { ENDINGS, NOT_CONTINUED } from './sentences.js';

/**
 * The end of an answer, as ending.js shows it: {kind, says, advice, detail, code, offers}; null for an answer that is
 * whole or still being written. `kind`: stopped, failed, cut or held (no failure, and no answer). `offers`: 'continue', 'again', 'model', 'new'.
 */
export function endingOf({ status, finishReason, error, text, tools }) {
  // The server continues text alone: a second text could not follow the results of tools.
  const more = text && !tools ? ['continue'] : [];
  if (status === 'cancelled')
    return { kind: 'stopped', ...withOffers(ENDINGS[text ? 'stopped' : 'stopped_empty'], more) };
  if (status === 'error') {
    const known = explainError(error);
    return { kind: 'failed', ...withOffers(known, NOT_CONTINUED.has(known.code) ? [] : more) };
  }
  if (status !== 'completed') return null;
  if (finishReason === 'length')
    return text ? { kind: 'cut', ...withOffers(ENDINGS.length, more) } : { kind: 'held', ...ENDINGS.length_empty };
  if (finishReason === 'content_filter') return { kind: 'held', ...ENDINGS[text ? 'filtered' : 'filtered_empty'] };
  return text || tools ? null : { kind: 'held', ...ENDINGS.empty };
}

const withOffers = (ending, more) => ({ ...ending, offers: [...more, ...ending.offers] });
