"""Responses that wait for an event without a thread of the server; the request continues afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response, current_app, g, request

from app.api import tracing
from app.api.auth.caller import Caller
from app.api.errors import Unauthenticated
from app.api.web_process import web
from app.connections.parking import CAN_PARK, ParkedBody, Wait, block


def nothing() -> None:
    """Do nothing about a client that disconnects."""


def can_park() -> bool:
    """True when the server of this request waits for events without a thread."""
    return bool(request.environ.get(CAN_PARK))


def respond_after(wait: Wait, finish: Callable[[], Response], abandoned: Callable[[], None] = nothing) -> Response:
    """The response that ``finish`` makes when the wait is over.

    ``finish`` runs in a context like the current one, and may raise as a view may. It is not called when the client
    disconnects, which ends the wait, nor when the caller's access has ended meanwhile; ``abandoned`` is called then,
    and must not block.
    """

    def answer() -> Response:
        if _access_has_ended():
            abandoned()
            raise Unauthenticated(presented=True)
        return finish()

    if not can_park():
        try:
            block(wait)
        finally:
            wait.close()
        return answer()
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    kept = {name: getattr(g, name) for name in g}
    # ProxyFix has changed this environment already.
    rest = _Continuation(app, request.environ, kept, answer)
    return Response(ParkedBody(wait, rest, abandoned), direct_passthrough=True)


def _access_has_ended() -> bool:
    """True when the credential of this request was revoked since it was proved."""
    caller: Caller | None = g.get("caller")
    if caller is None:
        return False
    return web().resources.revocations.ended(caller.user.revocables, caller.proved_at)


class _Continuation:
    """The rest of a request, as a WSGI application."""

    def __init__(
        self, app: Flask, environ: dict[str, Any], kept: dict[str, Any], finish: Callable[[], Response]
    ) -> None:
        self._app = app
        self._environ = environ
        self._kept = kept
        self._finish = finish

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        app = self._app
        with app.request_context(self._environ):
            for name, value in self._kept.items():
                setattr(g, name, value)
            tracing.bind()
            try:
                response = self._finish()
            except Exception as error:
                response = app.make_response(app.handle_user_exception(error))
            return app.process_response(response)(environ, start_response)
