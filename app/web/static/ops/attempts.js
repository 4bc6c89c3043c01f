/** The attempts of a generation: one row for each call of an upstream. */

import { count, NONE, seconds, words } from './format.js';
import { badge, empty } from './parts.js';
import { simpleTable } from './overview_tables.js';

const GOOD = ['completed', 'finished', 'ok', 'stop'];

/** A table of attempts. `log`: [{attempt, epoch, target, outcome, seconds, usage, visible}]. */
export function attemptTable(log) {
  if (!log.length) return empty('No call of an upstream has ended yet.');
  return simpleTable(
    'Attempts',
    ['Attempt', 'Target', 'Outcome', 'Epoch', 'Time', 'Tokens in / out'],
    log.map((attempt) => [
      count(attempt.attempt),
      attempt.target ?? NONE,
      badge(words(attempt.outcome ?? 'unknown'), { tone: GOOD.includes(attempt.outcome) ? 'good' : 'warn' }),
      count(attempt.epoch),
      seconds(attempt.seconds),
      used(attempt.usage),
    ]),
  );
}

const used = (usage) =>
  usage ? `${count(usage.input_tokens)} / ${count(usage.output_tokens)}${usage.estimated ? ', estimated' : ''}` : NONE;
