"""The design of the tutorials: Flask with a pub/sub connection for each client. It runs under gthread and gevent."""

from __future__ import annotations

import os
from collections.abc import Iterator

import redis
from flask import Flask, Response

app = Flask(__name__)
pool = redis.ConnectionPool.from_url(os.environ["REDIS_URL"], max_connections=20_000)


@app.get("/<int:generation>")
def stream(generation: int) -> Response:
    return Response(events(generation), mimetype="text/event-stream")


@app.get("/<int:generation>/replay")
def replay(generation: int) -> Response:
    return Response(past(generation), mimetype="text/event-stream")


def events(generation: int) -> Iterator[bytes]:
    with redis.Redis(connection_pool=pool).pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(f"bench:{{{generation}}}:live")
        yield b": hi\n\n"
        for message in channel.listen():
            position, _, payload = message["data"].partition(b" ")
            yield b"data: %b\nid: %b\n\n" % (payload, position)


def past(generation: int) -> Iterator[bytes]:
    for position, fields in redis.Redis(connection_pool=pool).xrange(f"bench:{{{generation}}}:log"):
        yield b"data: %b\nid: %b\n\n" % (fields[b"e"], position)
