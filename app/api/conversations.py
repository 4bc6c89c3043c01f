"""Conversations: list, look, rename, archive, delete, read."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import AfterValidator, Field, StringConstraints

from app.api import render, shapes
from app.api.fields import Id, ModelName
from app.api.generations import PollHeaders, conditional
from app.api.identity import Caller
from app.api.process import web
from app.api.reading import Body, Path, Query, Text
from app.api.routing import Answer, Routes
from app.domain.commands import ChangeConversation, ListConversations
from app.domain.storable import storable

LARGEST_SEQ = 2**31 - 1

routes = Routes("conversations", __name__, "/api/v1", "A user's conversations and their messages")

Title = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True), AfterValidator(storable)]


class ListQuery(Query):
    """Which conversations, and how many."""

    limit: int = Field(20, ge=1, le=100)
    cursor: Text | None = Field(None, max_length=200, description="next_cursor of the page before")
    model: Text | None = Field(None, max_length=200, description="Only conversations begun with this model")
    archived: bool = Field(False, description="The archived ones instead")


class ActiveQuery(Query):
    """With whom."""

    model: ModelName | None = Field(None, description="Conversations begun with it; general chats when left out")


class ConversationPath(Path):
    """Which conversation."""

    conversation_id: Id


class ChangeBody(Body):
    """What to change; a field left out stays. `null` empties title and model."""

    title: Title | None = None
    archived: bool | None = None
    model: ModelName | None = None


class MessagesQuery(Query):
    """Which messages."""

    after_seq: int = Field(0, ge=0, le=LARGEST_SEQ, description="Only messages numbered above this")
    limit: int = Field(50, ge=1, le=200)
    branch: Id | None = Field(None, description="Only the branch with this message, on to its newest descendant")


@routes.route_for(
    "get",
    "/conversations",
    access="user",
    limit="reads",
    answers=(Answer(200, "A page, newest first", shapes.ConversationPage),),
)
def list_conversations(caller: Caller, query: ListQuery) -> Response:
    """The user's conversations."""
    command = ListConversations(query.limit, query.cursor, query.model, query.archived)
    return render.answer(render.conversation_page(web().resources.conversations.list(caller.user, command)))


@routes.route_for(
    "get",
    "/conversations/active",
    access="user",
    limit="reads",
    answers=(Answer(200, "The conversation", shapes.Conversation),),
    refusals=(404,),
)
def get_active_conversation(caller: Caller, query: ActiveQuery) -> Response:
    """The one conversation you are in with a model: last written to, and not archived."""
    return render.answer(render.conversation(web().resources.conversations.active(caller.user, query.model)))


@routes.route_for(
    "get",
    "/conversations/<conversation_id>",
    access="user",
    limit="reads",
    answers=(Answer(200, "The conversation", shapes.Conversation),),
)
def get_conversation(caller: Caller, path: ConversationPath) -> Response:
    """One conversation."""
    return render.answer(render.conversation(web().resources.conversations.get(caller.user, path.conversation_id)))


@routes.route_for(
    "patch",
    "/conversations/<conversation_id>",
    access="user",
    limit="reads",
    answers=(Answer(200, "The conversation as it is now", shapes.Conversation),),
)
def change_conversation(caller: Caller, path: ConversationPath, body: ChangeBody) -> Response:
    """Rename, archive, or choose another model."""
    emptied = frozenset(n for n in ("title", "model") if n in body.model_fields_set and getattr(body, n) is None)
    command = ChangeConversation(body.title, body.archived, body.model, emptied)
    changed = web().resources.conversations.change(caller.user, path.conversation_id, command)
    return render.answer(render.conversation(changed))


@routes.route_for(
    "delete",
    "/conversations/<conversation_id>",
    access="user",
    limit="reads",
    answers=(Answer(204, "It is gone, and what ran in it was cancelled"),),
)
def delete_conversation(caller: Caller, path: ConversationPath) -> Response:
    """Delete a conversation with everything in it."""
    web().resources.conversations.delete(caller.user, path.conversation_id)
    return Response(status=204)


@routes.route_for(
    "get",
    "/conversations/<conversation_id>/messages",
    access="user",
    limit="reads",
    answers=(Answer(200, "A page, in order", shapes.MessagePage),),
)
def list_messages(caller: Caller, path: ConversationPath, query: MessagesQuery) -> Response:
    """A conversation's messages."""
    conversations = web().resources.conversations
    page = conversations.messages(caller.user, path.conversation_id, query.after_seq, query.limit, query.branch)
    return render.answer(render.message_page(page))


@routes.route_for(
    "get",
    "/conversations/<conversation_id>/status",
    access="user",
    limit="reads",
    answers=(
        Answer(200, "Whether an answer is being made", shapes.ConversationStatus, headers=("ETag",)),
        Answer(304, "Nothing has changed", headers=("ETag",)),
    ),
)
def get_conversation_status(caller: Caller, path: ConversationPath, header: PollHeaders) -> Response:
    """Whether an answer is being made in it, and how far it is."""
    shown = render.status(web().resources.conversations.status(caller.user, path.conversation_id))
    state = [shown[name] for name in ("generation_id", "status", "cursor", "queue_position")]
    if shown["generation_id"] is None:
        state.append(shown["last_updated"])
    return conditional(lambda: render.answer(shown), repr(state))
