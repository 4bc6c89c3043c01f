/**
 * The sentences about what becomes of an answer and of a request, in the words of a reader: one place for all codes of
 * the server. Data alone; tests/unit/test_sentences.py compares the codes with those that the server has.
 *
 * `says`: what has happened; null where the server's own `detail` is written for readers. It is in English, so readers of
 * other languages get `kind` in its place. `advice`: what can be done.
 * `offers`: buttons under it, by the names of endings.js.
 */

import { t } from './texts.js';

/** By the code of an answer's error. */
export const ANSWER_ERRORS = {
  answer_too_large: {
    says: t('error.answer_too_large'),
    advice: t('advice.part'),
    offers: [],
  },
  attempts_exhausted: {
    says: t('error.attempts_exhausted'),
    advice: t('advice.later_or_model'),
    offers: ['again', 'model'],
  },
  context_length: {
    says: t('error.context_length'),
    advice: t('advice.new_chat'),
    offers: ['model', 'new'],
  },
  failed_by_operator: {
    says: t('error.failed_by_operator'),
    advice: null,
    offers: ['again', 'model'],
  },
  file_unavailable: {
    says: t('error.file_unavailable'),
    advice: t('advice.moment_or_no_file'),
    offers: ['again'],
  },
  first_token_timeout: {
    says: t('error.first_token_timeout'),
    advice: t('advice.busy'),
    offers: ['again', 'model'],
  },
  generation_timeout: {
    says: t('error.generation_timeout'),
    advice: t('advice.part'),
    offers: ['again', 'model'],
  },
  interrupted: {
    says: t('error.interrupted'),
    advice: null,
    offers: ['again', 'model'],
  },
  invalid_format: {
    says: t('error.invalid_format'),
    advice: t('advice.again_or_model'),
    offers: ['again', 'model'],
  },
  model_gone: {
    says: t('error.model_gone'),
    advice: t('advice.model'),
    offers: ['model'],
  },
  provider_unknown: {
    says: t('error.provider_unknown'),
    advice: t('advice.model_set_up'),
    offers: ['model'],
  },
  token_timeout: {
    says: t('error.token_timeout'),
    advice: null,
    offers: ['again', 'model'],
  },
  upstream_connection: {
    says: t('error.upstream_connection'),
    advice: t('advice.moment_or_model'),
    offers: ['again', 'model'],
  },
  upstream_encoding: {
    says: t('error.upstream_encoding'),
    advice: t('advice.model_only'),
    offers: ['model'],
  },
  upstream_error: {
    says: t('error.upstream_error'),
    advice: t('advice.again_or_model'),
    offers: ['again', 'model'],
  },
  upstream_malformed: {
    says: t('error.upstream_malformed'),
    advice: t('advice.again_or_model'),
    offers: ['again', 'model'],
  },
  upstream_quota: {
    says: t('error.upstream_quota'),
    advice: t('advice.model_fill'),
    offers: ['model'],
  },
  upstream_rate_limited: {
    says: t('error.upstream_rate_limited'),
    advice: t('advice.minute_or_model'),
    offers: ['again', 'model'],
  },
  upstream_rejected: {
    says: t('error.upstream_rejected'),
    advice: t('advice.words'),
    offers: ['again', 'model'],
  },
  upstream_run_gone: {
    says: t('error.upstream_run_gone'),
    advice: null,
    offers: ['again', 'model'],
  },
  upstream_timeout: {
    says: t('error.upstream_timeout'),
    advice: t('advice.again_or_model'),
    offers: ['again', 'model'],
  },
  upstream_truncated: {
    says: t('error.upstream_truncated'),
    advice: null,
    offers: ['again', 'model'],
  },
  upstream_unauthorized: {
    says: t('error.upstream_unauthorized'),
    advice: t('advice.model_mend'),
    offers: ['model'],
  },
  upstream_unavailable: {
    says: t('error.upstream_unavailable'),
    advice: t('advice.moment_or_model'),
    offers: ['again', 'model'],
  },
};

/** For a code that this page does not know. */
export const UNKNOWN_ERROR = {
  says: t('error.unknown'),
  advice: null,
  offers: ['again', 'model'],
};

/** An error after which the text can go on: all others say that it cannot. */
export const NOT_CONTINUED = new Set(['answer_too_large', 'context_length', 'model_gone', 'provider_unknown']);

/** What else an answer can end with. */
export const ENDINGS = {
  stopped: { says: t('ending.stopped'), advice: null, offers: [] },
  stopped_empty: { says: t('ending.stopped_empty'), advice: null, offers: [] },
  length: {
    says: t('ending.length'),
    advice: null,
    offers: [],
  },
  length_empty: {
    says: t('ending.length_empty'),
    advice: t('advice.longer'),
    offers: ['again', 'model'],
  },
  filtered: {
    says: t('ending.filtered'),
    advice: t('advice.words'),
    offers: ['again', 'model'],
  },
  filtered_empty: {
    says: t('ending.filtered_empty'),
    advice: t('advice.words'),
    offers: ['again', 'model'],
  },
  empty: {
    says: t('ending.empty'),
    advice: t('advice.again_or_model'),
    offers: ['again', 'model'],
  },
};

/** What happened to an answer that goes on, by the reason of a snapshot. */
export const NOTICES = {
  takeover: t('notice.takeover'),
  continue: t('notice.continue'),
  restart: t('notice.restart'),
  failover: t('notice.failover'),
};

/** The reasons of a wait, by `waiting.reason` of a generation. */
export const WAITS = {
  turn: t('wait.turn'),
  conversation: t('wait.conversation'),
  own_limit: t('wait.own_limit'),
  queue: t('wait.queue'),
  retry: t('wait.retry'),
  failover: t('wait.failover'),
  worker: t('wait.worker'),
};

/** By the end of a problem's `type`. */
export const PROBLEMS = {
  'bad-gateway': { says: t('problem.unreachable'), advice: t('advice.moment') },
  'bad-request': { says: null, kind: t('problem.bad-request'), advice: null },
  'being-erased': { says: null, kind: t('problem.being-erased'), advice: null },
  blocked: { says: null, kind: t('problem.blocked'), advice: null },
  'budget-used': { says: null, kind: t('problem.budget-used'), advice: t('advice.usage') },
  'content-too-large': { says: t('problem.too_large'), advice: t('advice.smaller') },
  'conversation-busy': {
    says: t('problem.conversation-busy'),
    advice: t('advice.when_finished'),
  },
  forbidden: { says: null, kind: t('problem.forbidden'), advice: null },
  'foreign-origin': { says: null, kind: t('problem.foreign-origin'), advice: null },
  'gateway-timeout': { says: t('problem.unreachable'), advice: t('advice.moment') },
  'identity-provider-down': { says: t('problem.identity-provider-down'), advice: t('advice.moment') },
  'insecure-site': { says: null, kind: t('problem.insecure-site'), advice: null },
  internal: { says: t('problem.internal'), advice: t('advice.moment') },
  'invalid-field': { says: null, kind: t('problem.invalid-field'), advice: null },
  malformed: { says: null, kind: t('problem.malformed'), advice: null },
  'method-not-allowed': { says: null, kind: t('problem.method-not-allowed'), advice: null },
  'model-not-allowed': { says: t('problem.model-not-allowed'), advice: t('advice.choose') },
  'no-room-for-files': { says: null, kind: t('problem.no-room-for-files'), advice: t('advice.delete_files') },
  'not-found': { says: t('problem.not_there'), advice: null },
  overloaded: { says: t('problem.overloaded'), advice: t('advice.moment') },
  'person-needed': { says: null, kind: t('problem.person-needed'), advice: null },
  'request-entity-too-large': {
    says: t('problem.too_large'),
    advice: t('advice.smaller'),
  },
  'scope-missing': { says: null, kind: t('problem.scope-missing'), advice: null },
  'service-unavailable': { says: t('problem.unreachable'), advice: t('advice.moment') },
  'sign-in-failed': { says: null, kind: t('problem.sign-in-failed'), advice: null },
  'store-down': { says: t('problem.store-down'), advice: t('advice.moment') },
  'too-many-requests': { says: t('problem.too-many-requests'), advice: t('advice.moment') },
  unauthenticated: { says: t('problem.sign_in'), advice: null },
  'unsupported-media-type': { says: null, kind: t('problem.unsupported-media-type'), advice: null },
  'upstream-silent': {
    says: t('problem.upstream-silent'),
    advice: t('advice.moment_or_choose'),
  },
  'wrong-state': { says: null, kind: t('problem.wrong-state'), advice: null },
};

/** A refusal without a known type, by its status; 0: there was no reply. */
export const STATUSES = {
  0: { says: t('status.0'), advice: t('advice.moment') },
  401: { says: t('problem.sign_in'), advice: null },
  404: { says: t('problem.not_there'), advice: null },
  429: { says: t('status.429'), advice: t('advice.moment') },
  500: { says: t('status.500'), advice: t('advice.moment') },
};

/** The limits that a refusal names, by their variables. `own`: it is the user's limit, and not that of all users. */
export const LIMITS = {
  MAX_QUEUED: { says: t('limit.MAX_QUEUED'), advice: t('advice.moment'), own: false },
  MAX_QUEUED_PER_USER: {
    says: t('limit.MAX_QUEUED_PER_USER'),
    advice: t('advice.when_begun'),
    own: true,
  },
  MAX_STREAMS_PER_USER: {
    says: t('limit.MAX_STREAMS_PER_USER'),
    advice: t('advice.close_tabs'),
    own: true,
  },
  RATELIMIT_EXPORTS: { says: t('limit.RATELIMIT_EXPORTS'), advice: t('advice.later'), own: true },
  RATELIMIT_GENERATIONS: {
    says: t('limit.RATELIMIT_GENERATIONS'),
    advice: t('advice.minute'),
    own: true,
  },
  RATELIMIT_IMPORTS: { says: t('limit.RATELIMIT_IMPORTS'), advice: t('advice.later'), own: true },
  RATELIMIT_NEW_CONVERSATIONS: {
    says: t('limit.RATELIMIT_NEW_CONVERSATIONS'),
    advice: t('advice.other_chat'),
    own: true,
  },
  RATELIMIT_READS: {
    says: t('limit.RATELIMIT_READS'),
    advice: t('advice.minute'),
    own: true,
  },
  RATELIMIT_UPLOADS: {
    says: t('limit.RATELIMIT_UPLOADS'),
    advice: t('advice.minute'),
    own: true,
  },
  RATELIMIT_SIGN_INS: { says: t('limit.RATELIMIT_SIGN_INS'), advice: t('advice.later'), own: true },
};
