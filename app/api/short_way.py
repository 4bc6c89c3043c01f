"""The short way of a reader that comes back with a token known here: its stream, opened without Flask.

Only streams are opened here. Every other request takes the long way through Flask: one that this module does not know
in each detail, and one that a check refuses. So a refusal has one form, and the checks are the functions of the long
way, in its order: token, user, rights, limit, place, owner.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import structlog
from flask import Flask
from structlog.contextvars import bind_contextvars, clear_contextvars

from app.api import rate_limit_headers, stream_connects, streams, tracing
from app.api.auth.bearer import bearer_of
from app.api.auth.caller import Caller
from app.api.auth.rights import check_rights, need_of
from app.api.auth.tokens import caller_of
from app.api.limits import READ_COUNTED
from app.api.rate_limit_headers import Standing
from app.api.web_process import EXTENSION, WebProcess
from app.domain import sse
from app.domain.cursor import START, Cursor
from app.domain.errors import UnbrokenError
from app.eventlog import allowance
from app.relay.event_stream import EventStream
from app.telemetry.current import current

_log = structlog.get_logger()

# The headers that guard every response.
GUARDS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
)
# In the environment of a request that is handed on: the seconds that it may still wait for Redis.
REDIS_SECONDS = "unbroken.redis_seconds"
ROUTE = "/api/v1/generations/<generation_id>/stream"
_PATH = re.compile(r"/api/v1/generations/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/stream")
_QUERY = re.compile(r"(?:after=([0-9]+-[0-9]+))?")
# Names that Flask takes: it refuses an empty label, and one of more than 63 characters.
_HOST = re.compile(r"(?:[A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63}\.?(?::[0-9]+)?")
# A request with one of these is described in full by Flask: CORS, traces, bodies, other protocols and credentials.
_LONG = (
    "HTTP_ORIGIN",
    "HTTP_TRACEPARENT",
    "HTTP_TRANSFER_ENCODING",
    "HTTP_UPGRADE",
    "HTTP_SIGNATURE",
    "HTTP_SIGNATURE_INPUT",
)

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class _Wanted(NamedTuple):
    """A request for a stream. ``positions`` are the texts of its header and its query, one of which is ``after``."""

    generation_id: str
    positions: tuple[str | None, str | None]
    after: Cursor
    token: str


class ShortWay:
    """A WSGI application that opens the streams of known tokens, and hands every other request on to ``long_way``.

    ``redis_seconds``: the time that one request may wait for Redis.
    """

    def __init__(self, long_way: Application, process: WebProcess, redis_seconds: float) -> None:
        self._long_way = long_way
        self._process = process
        self._redis_seconds = redis_seconds

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        wanted = _read(environ)
        if wanted is not None and not current().is_on:
            allowance.begin(self._redis_seconds)
            try:
                stream = self._open(wanted, environ, start_response)
                environ[REDIS_SECONDS] = allowance.left()
            finally:
                allowance.end()
            if stream is not None:
                return stream
        return self._long_way(environ, start_response)

    def _open(self, wanted: _Wanted, environ: dict[str, Any], start_response: Any) -> EventStream | None:
        """The stream; None for a request that has to take the long way."""
        began = time.perf_counter()
        request_id = tracing.choose_id(environ.get("HTTP_X_REQUEST_ID", ""))
        # Flask takes this id, too, for a request that is handed on.
        environ["HTTP_X_REQUEST_ID"] = request_id
        clear_contextvars()
        bind_contextvars(request_id=request_id)
        try:
            caller = self._caller(wanted.token)
            standing = self._count(caller, environ) if caller is not None else None
            if caller is None or standing is None:
                return None
            stream = streams.reopen(self._process, caller, wanted.generation_id, wanted.after, request_id)
        except UnbrokenError:
            return None
        except Exception:
            # Flask meets it, too, and answers with a problem. It does not where the fault is in this module alone.
            _log.exception("short way failed", action="request")
            return None
        if stream is not None:
            start_response("200 OK", _headers(request_id, standing))
            _account(wanted, caller, environ, time.perf_counter() - began)
        return stream

    def _caller(self, token: str) -> Caller | None:
        """The caller whom a token proves that is known here. Raises UnbrokenError for one who may not read."""
        claims = self._process.verifier.known(token)
        if claims is None:
            return None
        caller = caller_of(claims, self._process.resources)
        check_rights(caller.user, "user", need_of("user", "get"))
        return caller

    def _count(self, caller: Caller, environ: dict[str, Any]) -> Standing | None:
        """Count the request. None when it is over the limit, and when the count is unknown.

        A request that was counted and is handed on is not counted again.
        """
        receive = self._process.limits.count_read(caller.user.id)
        if receive is None:
            return None
        try:
            standing = receive()
        except Exception:  # every error of the client
            return None
        if standing is not None:
            environ[READ_COUNTED] = standing
        return standing


def register(app: Flask, redis_seconds: float) -> None:
    """Put the short way in front of the application."""
    app.wsgi_app = ShortWay(app.wsgi_app, app.extensions[EXTENSION], redis_seconds)  # type: ignore[method-assign]


def _read(environ: dict[str, Any]) -> _Wanted | None:
    """The request, if it is one for a stream with nothing in it that this module does not know."""
    path = _PATH.fullmatch(environ["PATH_INFO"])
    if path is None or environ["REQUEST_METHOD"] != "GET" or environ.get("SCRIPT_NAME"):
        return None
    query = _QUERY.fullmatch(environ.get("QUERY_STRING", ""))
    if environ["wsgi.url_scheme"] not in ("http", "https"):
        return None
    if query is None or not _HOST.fullmatch(environ.get("HTTP_HOST", "")) or any(name in environ for name in _LONG):
        return None
    if environ.get("CONTENT_LENGTH") not in (None, "", "0"):
        return None
    header = environ.get("HTTP_LAST_EVENT_ID")
    position = query[1] if header is None else header
    try:
        after = START if position is None else Cursor.parse(position)
        token = bearer_of(environ.get("HTTP_AUTHORIZATION", ""))
    except UnbrokenError:
        return None
    return None if token is None else _Wanted(path[1], (header, query[1]), after, token)


def _headers(request_id: str, standing: Standing) -> list[tuple[str, str]]:
    limits = rate_limit_headers.of([standing]).items()
    return [*sse.HEADERS, *GUARDS, (tracing.HEADER, request_id), *limits]


def _account(wanted: _Wanted, caller: Caller, environ: dict[str, Any], seconds: float) -> None:
    """Count the request, and write its log line."""
    tracing.count("GET", ROUTE, 200, seconds)
    stream_connects.count_opened(*wanted.positions)
    tracing.log_answer(
        "GET",
        environ["PATH_INFO"],
        200,
        seconds,
        client=environ.get("REMOTE_ADDR"),
        user_id=caller.user.id,
        generation_id=wanted.generation_id,
    )
