"""Live delivery inside one web process: a log replayed, joined to what is published, sent to many sockets.

log_type    the store a log is read from, and the channel it is published on
encoded_log consecutive events as bytes ready to be sent, with the place of each of them
tail        the newest part of one log as encoded bytes, shared by all its readers
log_cursor  the position of one reader: the bytes it may be sent next, and its need of a page
topic       a tail with its readers: the events held, the events delivered; the protocol of its listener
read_backoff    the times at which a log is read again
substreams  other logs that one connection carries beside its own
stream_connection   a log consumer with a socket, its state, and the table of legal moves

pubsub_connection, subscriber   the raw connection to Redis, and what keeps it alive
log_reader, backfill, topics    reads in threads, pages for readers that are behind, the logs that are open here
connections, sender, fan_out    the open connections, sending on one of them, sending to all readers of a log
pacing          the time for which a busy hub collects events before it sends them
revoker         streams whose credential or user was revoked
housekeeping    heartbeats, expired tokens, stalled clients, positions in the queue
event_loop, thread_pool, reports    one thread's turns, threads for calls that block, log lines written elsewhere
stats       counts
hub         the thread: it puts the parts together and makes the rounds

event_stream    one response, with two ways out: a socket handed to the hub, or an ordinary generator
stream_wait     a wait for the next event or the end of a log, without a thread
presence    the number of connections that follow a feed
stream_quota    the number of streams that may be open
returns, ready_return   readers that come back, opened together by one thread
gunicorn_worker the gunicorn worker that can hand a socket over
"""
