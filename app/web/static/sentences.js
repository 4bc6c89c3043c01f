/**
 * The sentences about what becomes of an answer and of a request, in the words of a reader: one place for all codes of
 * the server. Data alone; tests/unit/test_sentences.py compares the codes with those that the server has.
 *
 * `says`: what has happened; null where the server's own `detail` is written for readers. `advice`: what can be done.
 * `offers`: buttons under it, by the names of endings.js.
 */

/** By the code of an answer's error. */
export const ANSWER_ERRORS = {
  answer_too_large: {
    says: 'The answer became longer than this service keeps.',
    advice: 'Ask for a part of it, or for a shorter answer.',
    offers: [],
  },
  attempts_exhausted: {
    says: 'Every attempt to write this answer failed.',
    advice: 'Try again later, or have another model answer.',
    offers: ['again', 'model'],
  },
  context_length: {
    says: 'This conversation is too long for the model.',
    advice: 'Start a new chat, or have a model answer that reads more.',
    offers: ['model', 'new'],
  },
  failed_by_operator: {
    says: 'An operator of this service ended this answer.',
    advice: null,
    offers: ['again', 'model'],
  },
  file_unavailable: {
    says: 'A file of this conversation cannot be read just now.',
    advice: 'Try again in a moment, or send the message without the file.',
    offers: ['again'],
  },
  first_token_timeout: {
    says: 'The model did not begin to answer in time.',
    advice: 'It may be busy. Try again, or have another model answer.',
    offers: ['again', 'model'],
  },
  generation_timeout: {
    says: 'The answer took longer than an answer may take.',
    advice: 'Ask for a part of it, or for a shorter answer.',
    offers: ['again', 'model'],
  },
  interrupted: {
    says: 'The answer was interrupted, and is not continued by itself.',
    advice: null,
    offers: ['again', 'model'],
  },
  invalid_format: {
    says: 'The answer does not have the form that was requested.',
    advice: 'Try again, or have another model answer.',
    offers: ['again', 'model'],
  },
  model_gone: {
    says: 'The model of this answer does not exist any more.',
    advice: 'Have another model answer.',
    offers: ['model'],
  },
  provider_unknown: {
    says: 'The model of this answer is not set up completely.',
    advice: 'Have another model answer. Operators of this service can set it up.',
    offers: ['model'],
  },
  token_timeout: {
    says: 'The model fell silent in the middle of its answer.',
    advice: null,
    offers: ['again', 'model'],
  },
  upstream_connection: {
    says: 'The provider of the model cannot be reached.',
    advice: 'Try again in a moment, or have another model answer.',
    offers: ['again', 'model'],
  },
  upstream_encoding: {
    says: 'The provider of the model answers in a form that this service cannot read.',
    advice: 'Have another model answer: a second attempt will not help.',
    offers: ['model'],
  },
  upstream_error: {
    says: 'The provider of the model reported an error.',
    advice: 'Try again, or have another model answer.',
    offers: ['again', 'model'],
  },
  upstream_malformed: {
    says: 'The provider of the model sent something that is no answer.',
    advice: 'Try again, or have another model answer.',
    offers: ['again', 'model'],
  },
  upstream_quota: {
    says: 'The account of this service at the provider is used up.',
    advice: 'Have another model answer. Operators of this service can fill the account.',
    offers: ['model'],
  },
  upstream_rate_limited: {
    says: 'The provider of the model has too many requests just now.',
    advice: 'Try again in a minute, or have another model answer.',
    offers: ['again', 'model'],
  },
  upstream_rejected: {
    says: 'The provider of the model refused the request.',
    advice: 'Other words or another model may help.',
    offers: ['again', 'model'],
  },
  upstream_run_gone: {
    says: 'The provider of the model has lost this answer.',
    advice: null,
    offers: ['again', 'model'],
  },
  upstream_timeout: {
    says: 'The provider of the model did not answer in time.',
    advice: 'Try again, or have another model answer.',
    offers: ['again', 'model'],
  },
  upstream_truncated: {
    says: 'The provider of the model ended the answer before it was finished.',
    advice: null,
    offers: ['again', 'model'],
  },
  upstream_unauthorized: {
    says: 'The provider of the model does not accept the key of this service.',
    advice: 'Have another model answer. Only operators of this service can mend this.',
    offers: ['model'],
  },
  upstream_unavailable: {
    says: 'The provider of the model has a problem.',
    advice: 'Try again in a moment, or have another model answer.',
    offers: ['again', 'model'],
  },
};

/** For a code that this page does not know. */
export const UNKNOWN_ERROR = {
  says: 'The answer could not be finished.',
  advice: null,
  offers: ['again', 'model'],
};

/** An error after which the text can go on: all others say that it cannot. */
export const NOT_CONTINUED = new Set(['answer_too_large', 'context_length', 'model_gone', 'provider_unknown']);

/** What else an answer can end with. */
export const ENDINGS = {
  stopped: { says: 'Stopped. The text so far is kept.', advice: null, offers: [] },
  stopped_empty: { says: 'Stopped. Nothing was written yet.', advice: null, offers: [] },
  length: {
    says: 'The answer is cut off here: it has reached the longest length that is allowed.',
    advice: null,
    offers: [],
  },
  length_empty: {
    says: 'The model has used the whole length of its answer before it wrote anything.',
    advice: 'Allow longer answers in the settings of this chat, or have another model answer.',
    offers: ['again', 'model'],
  },
  filtered: {
    says: 'The provider of the model held back the rest of this answer.',
    advice: 'Other words or another model may help.',
    offers: ['again', 'model'],
  },
  filtered_empty: {
    says: 'The provider of the model held back this answer.',
    advice: 'Other words or another model may help.',
    offers: ['again', 'model'],
  },
  empty: {
    says: 'The model has sent an empty answer.',
    advice: 'Try again, or have another model answer.',
    offers: ['again', 'model'],
  },
};

/** What happened to an answer that goes on, by the reason of a snapshot. */
export const NOTICES = {
  takeover: 'The server process that wrote this answer stopped. Another process has continued it. No text is lost.',
  continue: 'This answer was interrupted. It continues from the same place.',
  restart: 'This answer was interrupted and had to start again from the beginning.',
  failover: 'The provider of this answer failed. Another provider goes on with the answer.',
};

/** The reasons of a wait, by `waiting.reason` of a generation. */
export const WAITS = {
  turn: 'Waiting for its turn',
  conversation: 'Waiting for its turn: the answer before it is still being written',
  own_limit: 'Waiting for its turn: as many of your answers are being written as one user may have',
  queue: 'Waiting for its turn: the service is busy',
  retry: 'The provider of the model did not answer properly.',
  failover: 'The provider of the model did not answer properly. Another one is asked.',
  worker: 'The server process that writes this answer does not respond. No text is lost. Another one takes over',
};

/** By the end of a problem's `type`. */
export const PROBLEMS = {
  'bad-gateway': { says: 'The service cannot be reached just now.', advice: 'Try again in a moment.' },
  'bad-request': { says: null, advice: null },
  'being-erased': { says: null, advice: null },
  blocked: { says: null, advice: null },
  'budget-used': { says: null, advice: 'The account menu shows your usage, and when it begins anew.' },
  'content-too-large': { says: 'This is larger than the service accepts.', advice: 'Send a smaller part of it.' },
  'conversation-busy': {
    says: 'An answer is still being written in this conversation.',
    advice: 'Send it when the answer is finished.',
  },
  forbidden: { says: null, advice: null },
  'foreign-origin': { says: null, advice: null },
  'gateway-timeout': { says: 'The service cannot be reached just now.', advice: 'Try again in a moment.' },
  'identity-provider-down': { says: 'Signing in is not possible just now.', advice: 'Try again in a moment.' },
  'insecure-site': { says: null, advice: null },
  internal: { says: 'The service has a problem.', advice: 'Try again in a moment.' },
  'invalid-field': { says: null, advice: null },
  malformed: { says: null, advice: null },
  'method-not-allowed': { says: null, advice: null },
  'model-not-allowed': { says: 'You may not use this model.', advice: 'Choose another one.' },
  'no-room-for-files': { says: null, advice: 'Delete files that you do not need any more.' },
  'not-found': { says: 'This does not exist, or it belongs to another user.', advice: null },
  overloaded: { says: 'The service is busy.', advice: 'Try again in a moment.' },
  'person-needed': { says: null, advice: null },
  'request-entity-too-large': {
    says: 'This is larger than the service accepts.',
    advice: 'Send a smaller part of it.',
  },
  'scope-missing': { says: null, advice: null },
  'service-unavailable': { says: 'The service cannot be reached just now.', advice: 'Try again in a moment.' },
  'sign-in-failed': { says: null, advice: null },
  'store-down': { says: 'The service cannot store anything just now.', advice: 'Try again in a moment.' },
  'too-many-requests': { says: 'Too many requests were sent.', advice: 'Try again in a moment.' },
  unauthenticated: { says: 'Please sign in again.', advice: null },
  'unsupported-media-type': { says: null, advice: null },
  'upstream-silent': {
    says: 'The service does not know any model just now.',
    advice: 'Try again in a moment, or choose a model.',
  },
  'wrong-state': { says: null, advice: null },
};

/** A refusal without a known type, by its status; 0: there was no reply. */
export const STATUSES = {
  0: { says: 'The server cannot be reached.', advice: 'Try again in a moment.' },
  401: { says: 'Please sign in again.', advice: null },
  404: { says: 'This does not exist, or it belongs to another user.', advice: null },
  429: { says: 'Too many requests.', advice: 'Try again in a moment.' },
  500: { says: 'The server has a problem.', advice: 'Try again in a moment.' },
};

/** The limits that a refusal names, by their variables. `own`: it is the user's limit, and not that of all users. */
export const LIMITS = {
  MAX_QUEUED: { says: 'The service is busy: its queue is full.', advice: 'Try again in a moment.', own: false },
  MAX_QUEUED_PER_USER: {
    says: 'As many of your messages are waiting as one user may have.',
    advice: 'Send it when one of them has begun.',
    own: true,
  },
  MAX_STREAMS_PER_USER: {
    says: 'This page is open as often as one user may have it open.',
    advice: 'Close other tabs.',
    own: true,
  },
  RATELIMIT_EXPORTS: { says: 'You have exported as often as one user may.', advice: 'Try again later.', own: true },
  RATELIMIT_GENERATIONS: {
    says: 'You have sent messages faster than one user may.',
    advice: 'Try again in a minute.',
    own: true,
  },
  RATELIMIT_IMPORTS: { says: 'You have imported as often as one user may.', advice: 'Try again later.', own: true },
  RATELIMIT_NEW_CONVERSATIONS: {
    says: 'You have begun chats faster than one user may.',
    advice: 'Go on in another chat, or try again in a minute.',
    own: true,
  },
  RATELIMIT_READS: {
    says: 'You have sent more requests than one user may.',
    advice: 'Try again in a minute.',
    own: true,
  },
  RATELIMIT_UPLOADS: {
    says: 'You have uploaded files faster than one user may.',
    advice: 'Try again in a minute.',
    own: true,
  },
  RATELIMIT_SIGN_INS: { says: 'Too many attempts to sign in were made.', advice: 'Try again later.', own: true },
};
