/** Errors and refusals, explained with the sentences of sentences.js: {says, advice, detail, code, offers, own}. */

import { ANSWER_ERRORS, LIMITS, PROBLEMS, STATUSES, UNKNOWN_ERROR } from './sentences.js';
import { spoken, t } from './texts.js';

/** An answer's error ({code, message}). `detail`: the words of the server, for operators. */
export function explainError(error) {
  const known = ANSWER_ERRORS[error?.code] ?? UNKNOWN_ERROR;
  return { ...known, detail: error?.message ?? null, code: error?.code ?? null };
}

/** A refusal: its status and its problem (RFC 9457). `own`: a limit of the user was reached, and not of all users. */
export function explainRefusal(status, problem) {
  const type = problem?.type?.split('/').at(-1) ?? null;
  const fallback = STATUSES[status >= 500 ? 500 : status] ?? {
    says: problem?.title ?? t('problem.unknown'),
    advice: null,
  };
  const known = LIMITS[problem?.limit] ?? PROBLEMS[type] ?? (problem?.detail ? { says: null, advice: null } : fallback);
  const says = known.says ?? kindOf(known, problem) ?? problem?.detail ?? fallback.says;
  const detail = problem?.detail && problem.detail !== says ? problem.detail : null;
  return { ...known, says, detail, code: problem?.limit ?? type, offers: [], own: known.own ?? false };
}

// The kind of a problem and the fields it names, for readers who may not read the server's own words.
function kindOf({ kind }, { errors = [] }) {
  if (!kind || spoken() === 'en') return null;
  return [kind, ...errors.map(({ field }) => field)].filter(Boolean).join(' ');
}

/** An explanation as one text. */
export const asText = ({ says, advice }) => [says, advice].filter(Boolean).join(' ');
