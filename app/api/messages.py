"""Routes of messages: regenerate, continue or rate an answer, or edit a message. Every branch stays."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from app.api.auth.caller import Caller
from app.api.fields import Id, KeyHeaders, Metadata, NewMessageBody, Rating, StartOptionsBody
from app.api.json_response import respond
from app.api.representations.message import Message as ShownMessage
from app.api.request_parsing import Body, Path, Text
from app.api.routing import Answer, Routes
from app.api.starting import ANSWERS, answer_started
from app.api.web_process import web
from app.domain.commands import ContinueAnswer, EditMessage, Regenerate

routes = Routes("messages", __name__, "/api/v1", "Branches: generate another answer or more of one, or edit a message")


class MessagePath(Path):
    """The id of a message."""

    message_id: Id


class RegenerateBody(StartOptionsBody):
    """The options of a new answer. An empty object will do."""


class ContinueBody(StartOptionsBody):
    """The options of the longer answer. An empty object will do."""


class FeedbackBody(Body):
    """The feedback on an answer. It replaces the earlier one."""

    rating: Rating | None = Field(description="1: good, -1: bad, null: no feedback")
    comment: Text | None = Field(None, max_length=2000)


class EditBody(NewMessageBody):
    """The message that replaces an earlier one. Without `attachments` its files stay; an empty list removes them."""

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
    command = Regenerate(
        message_id=path.message_id,
        model=body.model,
        on_busy=body.on_busy or "reject",
        idempotency_key=header.key(body.client_msg_id),
        webhook_url=body.webhook_url,
    )
    return answer_started(caller, command, as_stream=body.wants_stream)


@routes.route_for(
    "post",
    "/messages/<message_id>/continue",
    access="user",
    limit="generations",
    answers=ANSWERS,
    refusals=(409,),
)
def continue_message(caller: Caller, path: MessagePath, header: KeyHeaders, body: ContinueBody) -> Response:
    """Go on with an answer that was cut off or stopped, on a new branch that begins with its text.

    The body may be left out. An answer with tool calls, or without text, cannot be continued (422).
    """
    command = ContinueAnswer(
        message_id=path.message_id,
        model=body.model,
        on_busy=body.on_busy or "reject",
        idempotency_key=header.key(body.client_msg_id),
        webhook_url=body.webhook_url,
    )
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
        webhook_url=body.webhook_url,
        attachments=None if body.attachments is None else tuple(body.attachments),
    )
    return answer_started(caller, command, as_stream=body.wants_stream)


@routes.route_for(
    "put",
    "/messages/<message_id>/feedback",
    access="user",
    limit="reads",
    answers=(Answer(200, "The answer with the feedback", ShownMessage),),
)
def give_feedback(caller: Caller, path: MessagePath, body: FeedbackBody) -> Response:
    """Rate an answer, or take the rating back."""
    feedback = web().resources.for_people.feedback
    return respond(ShownMessage.of(feedback.give(caller.user, path.message_id, body.rating, body.comment)))
