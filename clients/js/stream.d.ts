/** Starts and follows the answers of an Unbroken service. The first comment of stream.js has the guarantees. */

/** The place of an event in its answer: `<epoch>-<n>`. `0-0` is the start. */
export type Cursor = string;

/** A bearer token, or the cookie of the session with this id, for a page of the service's own origin. */
export type Proof = string | { cookie: string };
export type Token = Proof | null | undefined | (() => Proof | null | undefined | Promise<Proof | null | undefined>);

export type Status = 'queued' | 'running' | 'completed' | 'error' | 'cancelled';
export type Usage = { input_tokens?: number; output_tokens?: number } & Record<string, unknown>;

/** A refusal of the service (RFC 9457). `limit` is the variable of a limit that was reached. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  errors?: { field: string; detail: string }[];
  limit?: string;
  request_id?: string;
}

export interface ToolCall {
  call_id: string;
  tool: string;
  state: 'started' | 'finished' | 'failed';
  /** JSON text, as the model wrote it. */
  arguments: string;
  result?: string | null;
}

/** An answer as `GET /api/v1/generations/{id}` has it; /openapi.json describes the other fields. */
export interface Generation {
  id: string;
  conversation_id: string;
  message_id: string;
  user_message_id: string;
  model: string;
  status: Status;
  cursor: Cursor;
  content: string;
  reasoning: string;
  tools: ToolCall[];
  queue_position: number | null;
  finish_reason: string | null;
  error: Record<string, unknown> | null;
  usage: Usage | null;
  sha256: string | null;
  [field: string]: unknown;
}

// --- events ----------------------------------------------------------------------------------------------------

/** The ids of the answer. It comes first, with each connection. */
export interface OpenEvent {
  type: 'open';
  id?: undefined;
  generation_id: string;
  conversation_id: string;
  message_id: string;
  user_message_id?: string;
  conversation_created: boolean;
  status: Status;
  after?: Cursor;
}

export interface QueuedEvent {
  type: 'queued';
  id?: undefined;
  position: number;
}

export interface TitleEvent {
  type: 'title';
  id?: undefined;
  title: string;
}

/** `text` and `reasoning` replace what is shown. */
export interface SnapshotEvent {
  type: 'snapshot';
  id: Cursor;
  text: string;
  reasoning?: string;
  reason: 'start' | 'takeover' | 'continue' | 'restart' | 'failover' | 'cancel';
  attempt: number;
}

/** A piece of the answer. */
export interface TokenEvent {
  type: 'token';
  id: Cursor;
  content: string;
}

export interface ReasoningEvent {
  type: 'reasoning';
  id: Cursor;
  content: string;
}

export interface ToolEvent extends ToolCall {
  type: 'tool';
  id: Cursor;
  extra?: Record<string, unknown>;
}

/** The text behind it is a refusal of the model. */
export interface RefusalEvent {
  type: 'refusal';
  id: Cursor;
}

export interface UsageEvent {
  type: 'usage';
  id: Cursor;
  finish_reason: string;
  usage: Usage | null;
}

/** The last event of the answer. `sha256` is of its text. */
export interface DoneEvent {
  type: 'done';
  id: Cursor;
  status: 'completed' | 'error' | 'cancelled';
  finish_reason: string | null;
  usage: Usage | null;
  sha256: string;
  error?: Record<string, unknown>;
}

/** The whole answer as the service has it, where the events do not add up to it, or none was left. */
export interface FinalEvent {
  type: 'final';
  id?: undefined;
  generation: Generation;
}

/** A later version of the service may send other types: a `switch` has a default that ignores them. */
export type StreamEvent =
  | OpenEvent
  | QueuedEvent
  | TitleEvent
  | SnapshotEvent
  | TokenEvent
  | ReasoningEvent
  | ToolEvent
  | RefusalEvent
  | UsageEvent
  | DoneEvent
  | FinalEvent;

// --- readers ---------------------------------------------------------------------------------------------------

/** `retryAt` is in milliseconds since 1970. `status` and `problem`, or `why`, are the reason of a pause. */
export type State =
  | { name: 'connecting'; attempt?: number }
  | { name: 'live' | 'polling' | 'finished' }
  | { name: 'waiting' | 'offline'; retryAt: number; attempt: number; status?: number; problem?: Problem | null; why?: string }
  | { name: 'stopped'; reason: string; status?: number; problem?: Problem | null };

/** Milliseconds, except `pollWait`. */
export interface Times {
  /** Until the headers of a response, and until the first byte of a stream. */
  firstByte: number;
  /** Of a stream: three heartbeats. */
  silence: number;
  /** Of a response that is no stream. */
  body: number;
  minDelay: number;
  maxDelay: number;
  /** A longer Retry-After ends the reader. */
  longestWait: number;
  /** Seconds. */
  pollWait: number;
  pollPause: number;
  pollingPeriod: number;
}

export interface End {
  /** `refused`: see `problem`. `signed-out`: `token` was refused, and there is no other. `stopped`: by `stop` or `signal`. */
  reason: 'done' | 'refused' | 'signed-out' | 'stopped';
  status?: number;
  problem?: Problem | null;
  token?: Proof | null;
  transcript: Transcript;
  cursor: Cursor;
}

export interface Listeners {
  /** Each event once and in order. */
  onEvent?: (event: StreamEvent) => void;
  onState?: (state: State) => void;
}

export interface Reading extends Listeners {
  /** The last event that the caller has; `0-0` without it. */
  cursor?: Cursor;
  /** The transcript of the events up to the cursor. */
  transcript?: Transcript;
}

export interface FollowOptions extends Reading {
  /** `…/api/v1/generations/{id}/stream`. Outside of a browser it has its origin. */
  url: string;
  token?: Token;
  signal?: AbortSignal;
  times?: Partial<Times>;
}

/** The body of `POST /api/v1/generations`; /openapi.json describes the other fields. */
export interface StartBody {
  message: string;
  model?: string | null;
  conversation_id?: string | null;
  /** The idempotency key. Without it the module makes one. */
  client_msg_id?: string;
  on_busy?: 'reject' | 'enqueue' | 'interrupt' | 'replace';
  attachments?: string[];
  metadata?: Record<string, string>;
  [field: string]: unknown;
}

export interface BeginOptions extends Listeners {
  /** `…/api/v1/generations`. */
  url: string;
  body: StartBody;
  token?: Token;
  signal?: AbortSignal;
  times?: Partial<Times>;
}

export interface Reader {
  /** Resolves at the end, and never rejects. */
  readonly finished: Promise<End>;
  readonly transcript: Transcript;
  readonly cursor: Cursor;
  /** Stops reading. The answer itself goes on: this is no cancel. */
  stop(): void;
  /** Ends a pause now. */
  retryNow(): void;
}

/** Reads an answer, from its start or from a cursor. */
export function follow(options: FollowOptions): Reader;

/** Starts an answer and reads it. After a lost connection the request is repeated with its key. */
export function begin(options: BeginOptions): Reader;

/** A sentence for each name of a state. */
export const STATES: Readonly<Record<State['name'], string>>;

/** The text, the reasoning and the calls of tools that the events so far add up to. */
export class Transcript {
  text: string;
  reasoning: string;
  tools: Map<string, ToolCall>;
  status: Status | null;
  done: DoneEvent | null;
  add(event: StreamEvent): void;
}

/** The place of event `id` after the cursor. */
export function compare(cursor: Cursor, id: Cursor): 'next' | 'repeat' | 'hole';

// --- parts, for readers of other streams -------------------------------------------------------------------------

/** Parses text/event-stream, however it is cut. */
export class EventParser {
  constructor(onEvent: (event: { data: string; event: string; id: string | null }) => void);
  push(text: string): void;
}

/** A random delay in milliseconds; its limit doubles with each attempt. */
export function backoff(
  attempt: number,
  options?: { random?: () => number; minDelay?: number; maxDelay?: number },
): number;

/** The milliseconds of a Retry-After header, or null. */
export function retryAfter(header: string | null | undefined, now?: number): number | null;

/** A version 4 UUID. */
export function randomId(): string;

/** The SHA-256 of the text as UTF-8, in hex; null where the browser offers none. */
export function sha256(text: string): Promise<string | null>;
