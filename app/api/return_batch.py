"""The steps of one batch of readers that come back: users, limits and places, owners, streams.

The checks are the functions of the long way, in its order. Redis gets one message for all limits and places, PostgreSQL
one statement for all owners. Where a check fails the request is handed on, and the long way refuses it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from app.api import rate_limit_headers, stream_connects, streams, tracing
from app.api.auth.caller import Caller
from app.api.auth.rights import Access, check_rights, need_of
from app.api.auth.tokens import Claims, caller_of
from app.api.guards import GUARDS
from app.api.known_request import StreamWanted
from app.api.limits import READ_COUNTED
from app.api.rate_limit_headers import Standing
from app.api.web_process import WebProcess
from app.domain import sse
from app.domain.credential import Credential
from app.domain.errors import StoreDown, UnbrokenError
from app.eventlog.deferred_scripts import ScriptBatch
from app.relay.returns import Notes, Opened
from app.relay.stream_quota import Reservation
from app.services.generations import Wanted
from app.store.generations import Standing as Position

_log = structlog.get_logger()


@dataclass(slots=True)
class Return:
    """One request: what it wants, the claims of its token, and what the steps have found."""

    wanted: StreamWanted
    # None until the batch has verified the token.
    claims: Claims | None
    request_id: str
    began: float
    notes: Notes = field(default_factory=dict)


@dataclass(slots=True)
class _Admitted:
    """A request whose user may read, with its limit and its place, which Redis has not confirmed yet."""

    request: Return
    caller: Caller
    count: Callable[[], Standing | None]
    reservation: Reservation


class ReturnBatch:
    """Requests on the short way. ``route`` and ``access`` are those of the route that the long way takes."""

    def __init__(self, process: WebProcess, route: str, access: Access) -> None:
        self._process = process
        self._route = route
        self._access = access
        # The failure of PostgreSQL that has ended the batch.
        self.database_down: StoreDown | None = None
        # True when Redis did not answer.
        self.redis_down = False

    def open(self, requests: Sequence[Return]) -> list[Opened | Notes]:
        """The stream of each request, or notes for a request that is handed on. Raises nothing."""
        admitted: list[_Admitted] = []
        rows: list[Position | None] = []
        try:
            if (batch := self._process.limits.batch()) is not None:
                callers = self._callers(requests)
                admitted += self._admit(callers, batch)
                rows = self._process.resources.generations.authorise_all([_wanted(one) for one in admitted])
        except StoreDown as error:
            self.database_down = error
        except Exception:
            # Flask meets it, too, and answers with a problem. It does not where the fault is in this module alone.
            _log.exception("short way failed", action="request", request_id=requests[0].request_id)
        rows = rows or [None] * len(admitted)
        opened = {id(one.request): self._finish(one, row) for one, row in zip(admitted, rows, strict=True)}
        return [opened.get(id(request)) or request.notes for request in requests]

    def _callers(self, requests: Sequence[Return]) -> list[tuple[Return, Caller]]:
        """The requests whose users may read, with their callers. Raises DatabaseDown."""
        proved = [(request, claims) for request in requests if (claims := self._claims(request)) is not None]
        users = self._process.resources.users
        users.look_up((claims.subject, Credential("token", claims.digest)) for _, claims in proved)
        return [(request, caller) for request, claims in proved if (caller := self._caller(claims)) is not None]

    def _claims(self, request: Return) -> Claims | None:
        """The claims of the token; None for a token that is not accepted or has to be verified on the long way."""
        try:
            return request.claims or self._process.verifier.verify_alone(request.wanted.token)
        except UnbrokenError:
            return None

    def _admit(self, requests: Sequence[tuple[Return, Caller]], batch: ScriptBatch) -> Iterator[_Admitted]:
        """Add the limit and the place of each request to a message, and send it to Redis."""
        live = self._process.live
        shared = live.stream_places.through(batch)
        for request, caller in requests:
            count = self._process.limits.count_read(caller.user.id, batch)
            yield _Admitted(request, caller, count, live.quota.reserve(caller.user.id, None, shared))
        if requests:
            batch.leave()

    def _caller(self, claims: Claims) -> Caller | None:
        """The caller whom a token proves; None for one who may not read. Raises DatabaseDown."""
        try:
            caller = caller_of(claims, self._process.resources)
            check_rights(caller.user, self._access, need_of(self._access, "get"))
        except StoreDown:
            raise
        except UnbrokenError:
            return None
        return caller

    def _finish(self, one: _Admitted, row: Position | None) -> Opened | None:
        """The stream, or None; the place is released then."""
        standing = self._standing(one)
        if standing is not None and row is not None and not _is_read(one.request, row):
            try:
                return self._begin(one, standing, row)
            except UnbrokenError:
                pass
            except Exception:
                _log.exception("short way failed", action="request", request_id=one.request.request_id)
        one.reservation.release()
        return None

    def _standing(self, one: _Admitted) -> Standing | None:
        """The standing of the limit. None when the request is over it, and when the count is unknown."""
        try:
            standing = one.count()
        except Exception:  # every error of the client
            self.redis_down = True
            return None
        if standing is not None:
            one.request.notes[READ_COUNTED] = standing
        return standing

    def _begin(self, one: _Admitted, standing: Standing, row: Position) -> Opened:
        request, wanted = one.request, one.request.wanted
        place = one.reservation.acquire()
        stream = streams.reopen(self._process, one.caller, place, row, wanted.after, request.request_id)
        self._account(request, one.caller)
        return Opened(stream, _headers(request.request_id, standing))

    def _account(self, request: Return, caller: Caller) -> None:
        """Count the request, and write its log line."""
        wanted, seconds = request.wanted, time.perf_counter() - request.began
        tracing.count("GET", self._route, 200, seconds)
        stream_connects.count_opened(*wanted.positions)
        tracing.log_opened(
            wanted.path,
            seconds,
            request_id=request.request_id,
            client=wanted.client,
            user_id=caller.user.id,
            generation_id=wanted.generation_id,
        )


def _wanted(one: _Admitted) -> Wanted:
    return Wanted(one.caller.user.id, one.request.wanted.generation_id, one.request.wanted.after)


def _is_read(request: Return, row: Position) -> bool:
    """True when nothing is left of the stream."""
    return row.final is not None and request.wanted.after >= row.final


def _headers(request_id: str, standing: Standing) -> list[tuple[str, str]]:
    limits = rate_limit_headers.of([standing]).items()
    return [*sse.HEADERS, *GUARDS, (tracing.HEADER, request_id), *limits]
