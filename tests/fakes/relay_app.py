"""A small Flask application around the relay, for tests of the gunicorn worker: gunicorn tests.fakes.relay_app:app"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from time import monotonic
from typing import Any

from flask import Flask, Response, jsonify, request

from app.connections.parking import ParkedBody
from app.domain import sse
from app.domain.cursor import START, Cursor
from app.domain.errors import Overloaded
from app.eventlog.expiring_members import ExpiringMembers
from app.eventlog.log import RedisLog
from app.relay.event_stream import EventStream, Streams
from app.relay.hub import Hub
from app.relay.log_type import LogType
from app.relay.stream_connection import Closed, StreamRequest
from app.relay.stream_quota import StreamQuota
from app.relay.stream_wait import SILENCE, StreamWait, mark
from tests.fakes.relay import NAMESPACE, Shelf, TestSource, client_of

app = Flask(__name__)
closed: list[Closed] = []


def build() -> Streams:
    url = os.environ["REDIS_URL"]
    client = client_of(url)
    source = TestSource(RedisLog(client, NAMESPACE), Shelf(Path(os.environ["SHELF"])))
    hub = Hub(LogType(source, lambda key: f"{NAMESPACE}:{{{key}}}:live".encode()), url, NAMESPACE, client.publish)
    limits = int(os.environ.get("MAX_STREAMS", "10000")), int(os.environ.get("MAX_STREAMS_PER_USER", "100000"))
    return Streams(hub, StreamQuota(ExpiringMembers.of_streams(client, NAMESPACE), *limits))


streams = build()


@app.errorhandler(Overloaded)
def too_many(error: Overloaded) -> tuple[str, int]:
    return type(error).__name__, 429


@app.after_request
def name(response: Response) -> Response:
    response.headers["X-Request-ID"] = "r-1"
    return response


@app.route("/stream/<key>", methods=["GET", "POST"])
def stream(key: str) -> Response:
    after = Cursor.parse(request.args["after"]) if "after" in request.args else START
    user = request.args.get("user", "u")
    opening = sse.notice({"type": "open"})
    body = streams.open(StreamRequest(key, after, on_close=closed.append), user=user, opening=opening)
    return Response(body, headers=body.headers, direct_passthrough=True)


@app.get("/wait/<key>")
def wait(key: str) -> Response:
    stream = EventStream(
        streams.hub, StreamRequest(key, Cursor.parse(request.args["after"]), render=mark, heartbeat=SILENCE)
    )
    wait = StreamWait(stream, "event", monotonic() + float(request.args.get("seconds", "40")))

    def resume(environ: dict[str, Any], start_response: Any) -> Any:
        with app.request_context(environ):
            return jsonify(there=wait.has_event)(environ, start_response)

    return Response(ParkedBody(wait, resume), direct_passthrough=True)


@app.route("/plain", methods=["GET", "POST"])
def plain() -> dict[str, Any]:
    return {"pid": os.getpid(), "body": request.get_data(as_text=True)}


@app.get("/stats")
def stats() -> Response:
    hub = streams.hub
    return jsonify(
        pid=os.getpid(),
        open=hub.streams_open,
        frames=hub.stats.frames_sent,
        threads=threading.active_count(),
        descriptors=len(os.listdir("/proc/self/fd")),
        rss=int(Path("/proc/self/statm").read_text().split()[1]) * 4096,
        closed=[list(report) for report in closed[-50:]],
        cpu=sum(os.times()[:2]),
    )
