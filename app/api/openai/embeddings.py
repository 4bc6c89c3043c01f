"""The route for embeddings: passed through to the upstream by a worker, which alone has its key."""

from __future__ import annotations

from threading import BoundedSemaphore
from time import monotonic
from typing import Any

import orjson
from flask import Response, g
from pydantic import Field

from app.api import streams
from app.api.auth.caller import Caller
from app.api.fields import ModelName
from app.api.json_response import respond
from app.api.openai import shapes
from app.api.openai.bodies import OpenBody, Whole
from app.api.openai.failures import failure
from app.api.openai.unknown_fields import unknown_fields
from app.api.request_parsing import Text
from app.api.routing import Answer, Routes
from app.api.waiting import can_park, respond_after
from app.api.web_process import WebProcess, web
from app.domain.errors import ModelNotAllowed, Overloaded
from app.eventlog.mailbox import TTL_SECONDS, PendingReply
from app.services.users import new_id

routes = Routes("embeddings", __name__, "/v1", "OpenAI-compatible: embeddings of the upstream", refusal="OpenAIError")

# Each request that waits has a connection to Redis.
EMBEDDINGS_AT_ONCE = 64
_places = BoundedSemaphore(EMBEDDINGS_AT_ONCE)
_SILENT = {"code": "upstream_timeout", "message": f"No worker has answered within {TTL_SECONDS} s."}


class EmbeddingsBody(OpenBody):
    """Texts whose embeddings the upstream makes. Parameters that it knows are sent to it unchanged."""

    model: ModelName
    input: Text | list[Any] = Field(min_length=1)
    encoding_format: Text | None = None
    dimensions: Whole | None = Field(None, ge=1)
    user: Text | None = None


@routes.route_for(
    "post",
    "/embeddings",
    access="user",
    limit="generations",
    answers=(Answer(200, "The embeddings, as the upstream made them", shapes.OpenAIEmbeddings),),
    refusals=(404, 502, 504),
)
def create_embeddings(caller: Caller, body: EmbeddingsBody) -> Response:
    """Make embeddings. Nothing is stored; the usage is counted. The request waits without a thread."""
    process = web()
    if not caller.user.credential.may_use(body.model):
        raise ModelNotAllowed(body.model)
    process.resources.starter.check_quota(caller.user)
    if not can_park():
        raise Overloaded("This server would hold a thread for the wait; serve with app.relay.gunicorn_worker.")
    known = set(EmbeddingsBody.model_fields)
    unknown = unknown_fields(body, passed=process.settings.pass_unknown_parameters)
    asked = {**body.model_dump(exclude_none=True, include=known), **unknown}
    with streams.place_for(process, caller) as place:
        wait = _ReplyWait(process, caller, place, asked)
        return respond_after(wait, wait.finish, wait.end)


class _ReplyWait:
    """A wait for the reply of a worker, with the places that it holds. It is a Wait (app.connections.parking)."""

    def __init__(self, process: WebProcess, caller: Caller, place: str, body: dict[str, Any]) -> None:
        if not _places.acquire(blocking=False):
            most = EMBEDDINGS_AT_ONCE
            raise Overloaded(f"No more than {most} requests for embeddings wait here (EMBEDDINGS_AT_ONCE).")
        self._process = process
        self._user_id = caller.user.id
        self._place = place
        self._is_there = False
        request_id = new_id()
        try:
            key_id, trace = caller.user.credential.key_id, g.trace.parent if g.trace else None
            request = orjson.dumps({"user_id": caller.user.id, "key_id": key_id, "body": body, "traceparent": trace})
            self._reply: PendingReply = process.resources.mailbox.send(request_id, request)
        except BaseException:
            _places.release()
            raise
        process.resources.queue.run_embeddings(request_id)
        self.deadline = monotonic() + TTL_SECONDS

    def fileno(self) -> int:
        """The descriptor that becomes readable with the reply."""
        return self._reply.fileno()

    def take(self) -> bool:
        """True when the reply can be read; ``finish`` reads it."""
        self._is_there = self._reply.is_there
        return self._is_there

    def close(self) -> None:
        """Stop to wait for a reply that has not come."""
        if not self._is_there:
            self._reply.cancel()

    def end(self) -> None:
        """Give the places back."""
        _places.release()
        self._process.live.quota.release(self._user_id, self._place)

    def finish(self) -> Response:
        """The embeddings, or the refusal."""
        try:
            reply = self._reply.read() if self._is_there else None
        finally:
            self.end()
        if reply is not None and reply[:1] == b"1":
            return Response(reply[1:], content_type="application/json")
        refusal = failure(orjson.loads(reply[1:]) if reply else _SILENT)
        return respond(refusal.body, refusal.status, refusal.headers)
