"""The short way of readers that come back with a token: their streams, opened together and without Flask.

Only streams are opened here. Every other request takes the long way through Flask: one that `known_request` does not
know in each detail, and one that a check of `return_batch` refuses. So a refusal has one form.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flask import Flask
from structlog.contextvars import clear_contextvars

from app import logs
from app.api import known_request, tracing
from app.api.auth.rights import Access
from app.api.return_batch import Return, ReturnBatch
from app.api.streams import NOT_NOW
from app.api.web_process import EXTENSION, WebProcess
from app.eventlog import allowance
from app.relay.returns import Batch, Notes, Opened
from app.telemetry.current import current

# In the environment of a request that is handed on: the seconds that it may still wait for Redis.
REDIS_SECONDS = "unbroken.redis_seconds"
# In the environment of a request that was on the short way.
_TRIED = "unbroken.short_way_tried"
# The view of the long way.
_ENDPOINT = ".stream_generation"

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class ShortWay:
    """Opens streams for bearer tokens.

    As a WSGI application it hands every other request on to Flask. A server that collects requests calls
    ``recognise`` and ``open_all`` itself (app.relay.returns). ``redis_seconds``: the time that one request may wait for
    Redis. ``route`` and ``access`` are those of the long way.
    """

    def __init__(self, app: Flask, redis_seconds: float, route: str, access: Access) -> None:
        self._app = app
        self._long_way: Application = app.wsgi_app
        self._process: WebProcess = app.extensions[EXTENSION]
        self._redis_seconds = redis_seconds
        self._route = route
        self._access: Access = access

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = self.recognise(environ)
        if request is not None:
            (outcome,) = self.open_all([request]).outcomes
            if isinstance(outcome, Opened):
                start_response("200 OK", list(outcome.headers))
                return outcome.stream
            environ.update(outcome)
        return self._long_way(environ, start_response)

    def recognise(self, environ: dict[str, Any]) -> Return | None:
        """The request, if it is for a stream, and its token is known or can be verified here. Never blocks."""
        if _TRIED in environ or current().is_on:
            return None
        wanted, verifier = known_request.read(environ), self._process.verifier
        if wanted is None:
            return None
        claims = verifier.known(wanted.token)
        if claims is None and not verifier.may_verify(wanted.token):
            return None
        return Return(wanted, claims, tracing.choose_id(wanted.given_id), time.perf_counter())

    def open_all(self, requests: Sequence[Return]) -> Batch:
        """Open the streams of requests that were recognised. Raises nothing."""
        clear_contextvars()
        batch = ReturnBatch(self._process, self._route, self._access)
        allowance.begin(self._redis_seconds)
        try:
            with logs.together(), self._app.app_context():
                outcomes = batch.open(requests)
            left = allowance.left()
        finally:
            allowance.end()
        failure: Notes = {_TRIED: True}
        if batch.database_down is not None:
            failure[NOT_NOW] = batch.database_down
        if batch.redis_down:
            failure[REDIS_SECONDS] = left
        for request, outcome in zip(requests, outcomes, strict=True):
            if not isinstance(outcome, Opened):
                outcome.update(failure, **_described(request), **{REDIS_SECONDS: left})
        return Batch(outcomes, failure if len(failure) > 1 else None)


def register(app: Flask, redis_seconds: float) -> None:
    """Put the short way in front of the application."""
    rule = next(rule for rule in app.url_map.iter_rules() if rule.endpoint.endswith(_ENDPOINT))
    access: Access = vars(app.view_functions[rule.endpoint])["access"]
    way = ShortWay(app, redis_seconds, rule.rule, access)
    app.wsgi_app = way  # type: ignore[method-assign]
    app.extensions["short-way"] = way


def _described(request: Return) -> Notes:
    """The id and the beginning of a request that is handed on: Flask takes both."""
    return {"HTTP_X_REQUEST_ID": request.request_id, tracing.BEGUN_AT: request.began}
