"""Requests for embeddings: taken from the mailbox, sent to the upstream, answered there, and counted."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import suppress
from threading import Event
from typing import Any, Protocol, runtime_checkable

import orjson
import structlog

from app.domain.errors import DatabaseDown, LogDown, UnbrokenError
from app.domain.trace_context import TraceContext
from app.domain.usage import MOST_TOKENS, estimate, estimated_tokens
from app.services.charges import CHARGE_SECONDS, Call, PendingCharge
from app.store.model_configs import UNCONFIGURED, Model
from app.telemetry import names
from app.wiring import Resources
from worker.model_call import CallFacts, model_call
from worker.providers.base import Prompt, ProviderError
from worker.providers.registry import Providers, UnknownProvider
from worker.upstream_servers import UpstreamServer, servers

# The whole exchange with the upstream. A web process waits for 60 s.
TOTAL_SECONDS = 50.0
EMBEDDINGS_BYTES = 16_777_216
FAILED, MADE = b"0", b"1"

_log = structlog.get_logger()


@runtime_checkable
class MakesEmbeddings(Protocol):
    """A provider whose upstream makes embeddings."""

    async def embeddings(self, body: bytes, most_bytes: int) -> bytes:
        """The upstream's reply to a request. Raises ProviderError."""
        ...


class Embedder:
    """Answers requests, each in a thread that has nothing else to do."""

    def __init__(self, resources: Resources, providers: Providers, loop: asyncio.AbstractEventLoop) -> None:
        self._resources = resources
        self._providers = providers
        self._loop = loop
        self._leaving = Event()
        self._servers = servers(providers.upstreams)
        self._paused = False
        self._running: set[str] = set()

    @property
    def is_idle(self) -> bool:
        """True when no request is being answered."""
        return not self._running

    def pause(self) -> None:
        """Pass requests on to other workers; those under way are answered here."""
        self._paused = True

    def resume(self) -> None:
        """Answer requests again."""
        self._paused = False

    def leave(self) -> None:
        """Try owed charges no more; a log line has each of them."""
        self._leaving.set()

    def run(self, request_id: str) -> str:
        """Answer one request. Returns the outcome, for Celery."""
        self._running.add(request_id)
        try:
            if self._paused:
                self._resources.queue.run_embeddings(request_id)
                return "handed on"
            return self._run(request_id)
        finally:
            self._running.discard(request_id)

    def _run(self, request_id: str) -> str:
        try:
            request = self._resources.mailbox.take(request_id)
        except LogDown:
            # The web process answers 504.
            return "no reply"
        if request is None:
            return "expired"
        owed: list[PendingCharge] = []
        outcome, reply = self._answer(orjson.loads(request), owed)
        try:
            # The client has left, or may: the call is counted all the same.
            self._resources.mailbox.reply(request_id, reply)
        except LogDown:
            outcome = "no reply"
        for charge in owed:
            charge.insist(CHARGE_SECONDS, self._leaving)
        return outcome

    def _answer(self, request: dict[str, Any], owed: list[PendingCharge]) -> tuple[str, bytes]:
        """The outcome and the reply. A charge that PostgreSQL has not taken is added to ``owed``."""
        try:
            return "made", MADE + self._made(request, owed)
        except ProviderError as error:
            told = {"code": error.code, "message": error.message, "upstream_status": error.upstream_status}
        except DatabaseDown:
            told = {"code": "upstream_unavailable", "message": "PostgreSQL does not answer.", "upstream_status": 503}
        except UnbrokenError as error:
            told = {"code": "upstream_rejected", "message": error.detail, "upstream_status": 404}
        _log.warning("embeddings failed", action="embeddings", code=told["code"], detail=str(told["message"])[:300])
        return str(told["code"]), FAILED + orjson.dumps(told)

    def _made(self, request: dict[str, Any], owed: list[PendingCharge]) -> bytes:
        catalogue, body = self._resources.model_catalog, request["body"]
        catalogue.prepare()
        with self._resources.database.without_user() as tx:
            model = catalogue.find(tx, body["model"])
        try:
            provider: object = self._providers.get(model.provider)
        except UnknownProvider:
            provider = None
        if not isinstance(provider, MakesEmbeddings):
            raise ProviderError("upstream_rejected", f"The model {model.name} makes no embeddings.", retryable=False)
        sent = orjson.dumps({**body, "model": model.upstream_name})
        facts = self._facts(model)
        usage: dict[str, Any] | None = _estimated(body["input"])
        try:
            with model_call(TraceContext.read(request.get("traceparent")), facts) as call:
                # The task has the context of this thread, and so its trace.
                exchange = asyncio.wait_for(provider.embeddings(sent, EMBEDDINGS_BYTES), TOTAL_SECONDS)
                reply = _waited_for(asyncio.run_coroutine_threadsafe(exchange, self._loop))
                counted = _counted(reply)
                call.embedded(counted["input_tokens"] if counted else None)
            usage = counted or usage
            return reply
        except ProviderError as error:
            usage = usage if error.charged else None
            raise
        finally:
            if usage is not None:
                self._charge(Call(request["user_id"], request.get("key_id"), model.name, usage), owed)

    def _facts(self, model: Model) -> CallFacts:
        server = self._servers.get(model.provider) or UpstreamServer(model.provider)
        prompt = Prompt(model.upstream_name, ())
        return CallFacts(server._replace(operation=names.EMBEDDINGS), prompt, None, model.version != UNCONFIGURED, {})

    def _charge(self, call: Call, owed: list[PendingCharge]) -> None:
        """Count a call. Without PostgreSQL the reply goes first: the charge is owed."""
        charge = self._resources.usage.charge(call)
        try:
            charge.write()
        except DatabaseDown:
            owed.append(charge)


def _waited_for(future: Future[bytes]) -> bytes:
    """The reply of an upstream. Raises ProviderError."""
    try:
        return future.result()
    except TimeoutError:
        message = f"The upstream has not answered within {TOTAL_SECONDS:.0f} s."
        raise ProviderError("upstream_timeout", message, retryable=False) from None


def _counted(reply: bytes) -> dict[str, Any] | None:
    """The usage in an upstream's reply; None without one. Raises ProviderError for a reply that is no JSON object."""
    document: Any = None
    with suppress(orjson.JSONDecodeError):
        document = orjson.loads(reply)
    if not isinstance(document, dict):
        raise ProviderError("upstream_malformed", "The upstream answered something unreadable.", retryable=False)
    usage = document.get("usage")
    counts = [usage.get(name) for name in ("prompt_tokens", "total_tokens")] if isinstance(usage, dict) else []
    for count in counts:
        if isinstance(count, int) and not isinstance(count, bool) and 0 < count <= MOST_TOKENS:
            return {"input_tokens": count, "output_tokens": 0}
    return None


def _estimated(given: object) -> dict[str, Any]:
    """The estimated usage of texts, or of lists of token ids."""
    parts = given if isinstance(given, list) else [given]
    numbers = sum(isinstance(part, int) for part in parts)
    others = sum(
        len(part) if isinstance(part, list) else estimated_tokens(len(part if isinstance(part, str) else repr(part)))
        for part in parts
        if not isinstance(part, int)
    )
    return estimate(numbers + others, 0)
