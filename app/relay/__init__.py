"""Live delivery inside one web process: a log replayed, joined to what is published, sent to many sockets.

book      where a log is read, and the channel it is published on
tail      the newest part of one log as encoded bytes, shared by all its readers
follow    one reader's position: what it may be sent next, and when it needs a page of the log
topic     a tail with its readers, and when its log must be read again
reader    a follower with a socket
subscription, ear   the raw connection that hears what is published, and what keeps it alive
strands   other logs that one reader carries beside its own
shelf     the logs that are open here, and when they are read
loop, pool   what one thread does in turn, and threads for what blocks
hub       that thread: it sends what is there to whoever follows
stream    one response, with two doors: a socket handed to the hub, or an ordinary generator
presence  how many others follow a feed
places    how many streams there may be
worker    the gunicorn worker that can hand a socket over
"""
