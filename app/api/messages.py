"""Messages: answer once more, or say something else instead. Every branch stays."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from app.api.fields import AskBody, Id, KeyHeaders, Metadata
from app.api.identity import Caller
from app.api.reading import Message, Path
from app.api.routing import Routes
from app.api.starting import ANSWERS, answer_started
from app.domain.commands import EditMessage, Regenerate

routes = Routes("messages", __name__, "/api/v1", "Branches: answer once more, or say something else instead")


class MessagePath(Path):
    """Which message."""

    message_id: Id


class RegenerateBody(AskBody):
    """How to answer once more. An empty object will do."""


class EditBody(AskBody):
    """What to say instead."""

    message: Message = Field(description="What the person says instead", min_length=1)
    metadata: Metadata | None = Field(None, description="Yours: up to 16 pairs, keys of 64, values of 512 characters")


@routes.route_for(
    "post",
    "/messages/<message_id>/regenerate",
    access="user",
    limit="generations",
    answers=ANSWERS,
    refusals=(409,),
)
def regenerate_message(caller: Caller, path: MessagePath, header: KeyHeaders, body: RegenerateBody) -> Response:
    """Answer the same message once more, on a new branch. The body may be left out."""
    command = Regenerate(path.message_id, body.model, body.on_busy or "reject", header.key(body.client_msg_id))
    return answer_started(caller, command, as_stream=body.wants_stream)


@routes.route_for(
    "post",
    "/messages/<message_id>/edit",
    access="user",
    limit="generations",
    answers=ANSWERS,
    refusals=(409,),
)
def edit_message(caller: Caller, path: MessagePath, header: KeyHeaders, body: EditBody) -> Response:
    """Say something else in place of a message, on a new branch, and have it answered."""
    key = header.key(body.client_msg_id)
    command = EditMessage(
        message_id=path.message_id,
        message=body.message,
        model=body.model,
        on_busy=body.on_busy or "reject",
        client_msg_id=key,
        idempotency_key=key,
        metadata=dict(body.metadata or {}),
    )
    return answer_started(caller, command, as_stream=body.wants_stream)
