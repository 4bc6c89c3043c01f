/** One connection for all tabs of a browser. The first comment of shared_connection.js describes it. */

import type { Listeners, Reader, Reading, StartBody, Token } from './stream.js';

/** A change of something that the user has, or `presence`; docs/clients/feed.md lists the types and their fields. */
export interface FeedEvent {
  type: string;
  conversation_id?: string;
  feed_seq?: number;
  [field: string]: unknown;
}

export interface ConnectionState {
  name: 'connecting' | 'live' | 'waiting' | 'offline' | 'stopped';
  retryAt?: number;
  attempt?: number;
  status?: number;
  reason?: string;
}

export interface ConnectionOptions {
  /** `…/api/v1`. */
  url: string;
  token?: Token;
  /** Tabs of one origin with this name share. It must differ between users. */
  name: string;
  /** The user's id (`GET /me`); a connection of another user is not read. */
  user?: string | null;
  /** Each numbered event once and in order, and `presence`. */
  onEvent: (event: FeedEvent) => void;
  /** Events are missing that the feed does not repeat: load everything again, then call `begin`. */
  onMissed: () => void;
  onState?: (state: ConnectionState) => void;
  onSignedOut?: (token: unknown) => void;
}

export interface Alone {
  /** The feed does not carry this answer, as those of temporary conversations: it gets a stream of its own. */
  alone?: boolean;
}

export class SharedConnection {
  constructor(options: ConnectionOptions);
  readonly url: string;
  readonly token: Token;
  /** Events arrive as they happen. */
  readonly live: boolean;
  readonly state: ConnectionState;
  /** Receives from after event `number` of the feed: the data that was loaded elsewhere includes it. */
  begin(number: number): void;
  /** Reads an answer. `signal` and `times` of `follow` in stream.js have no place here. */
  follow(generationId: string, options: Reading & Alone): Reader;
  /** The ids of the conversations that this tab shows, for presence. */
  show(conversations: string[]): void;
  /** The connections that show a conversation, as far as they are known. */
  connections(conversation: string): number;
  /** Ends a pause now. */
  retryNow(): void;
  /** Shares with the tabs of another name from now on. */
  rename(name: string): void;
  close(): void;
}

/** Starts an answer whose events come over the connection. The request is repeated with its key until it is accepted. */
export function startAnswer(
  connection: SharedConnection,
  options: Listeners & Alone & { body: StartBody },
): Reader;
