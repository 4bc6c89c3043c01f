"""Routes of conversations: list, get, rename, archive, delete, and read their messages."""

from __future__ import annotations

from flask import Response
from pydantic import Field

from app.api.auth.caller import Caller
from app.api.fields import Id, ModelName, ParametersBody, SystemPrompt, Tag, Tags, Title
from app.api.generations import PollHeaders, conditional
from app.api.json_response import respond
from app.api.representations.conversation import Conversation, ConversationPage, ConversationStatus
from app.api.representations.message import MessagePage
from app.api.request_parsing import Body, Path, Query, Text
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.domain.commands import ChangeConversation, ListConversations

LARGEST_SEQ = 2**31 - 1

routes = Routes("conversations", __name__, "/api/v1", "A user's conversations and their messages")


class ListQuery(Query):
    """The filter and the size of a page of conversations."""

    limit: int = Field(20, ge=1, le=100)
    cursor: Text | None = Field(None, max_length=200, description="next_cursor of the page before")
    model: Text | None = Field(None, max_length=200, description="Only conversations begun with this model")
    archived: bool = Field(False, description="The archived ones instead")
    pinned: bool | None = Field(None, description="Only pinned conversations, or only the others")
    tag: Tag | None = Field(None, description="Only conversations with this tag")


class ActiveQuery(Query):
    """The model of the conversation."""

    model: ModelName | None = Field(None, description="Conversations begun with it; general chats when left out")


class ConversationPath(Path):
    """The id of a conversation."""

    conversation_id: Id


class ChangeBody(Body):
    """The fields to change. A field that is left out stays; `null` empties title, model, system prompt, parameters."""

    title: Title | None = None
    archived: bool | None = None
    model: ModelName | None = None
    pinned: bool | None = None
    tags: Tags | None = Field(None, description="All tags of the conversation: at most 8 of 40 characters")
    system_prompt: SystemPrompt | None = Field(
        None, description="For its answers, after the system prompt of the model"
    )
    parameters: ParametersBody | None = Field(None, description="All parameters of its answers")


_EMPTIED = ("title", "model", "system_prompt")


class SeenBody(Body):
    """The place up to which the user has seen a conversation. An empty object will do."""

    seq: int | None = Field(None, ge=0, le=LARGEST_SEQ, description="A feed_seq of its feed; left out: its end")


class MessagesQuery(Query):
    """The filter and the size of a page of messages."""

    after_seq: int = Field(0, ge=0, le=LARGEST_SEQ, description="Only messages numbered above this")
    limit: int = Field(50, ge=1, le=200)
    branch: Id | None = Field(None, description="Only the branch with this message, on to its newest descendant")


@routes.route_for(
    "get",
    "/conversations",
    access="user",
    limit="reads",
    answers=(Answer(200, "A page, newest first", ConversationPage),),
)
def list_conversations(caller: Caller, query: ListQuery) -> Response:
    """The user's conversations."""
    command = ListConversations(query.limit, query.cursor, query.model, query.archived, query.pinned, query.tag)
    return respond(ConversationPage.of(web().resources.conversations.list(caller.user, command)))


@routes.route_for(
    "get",
    "/conversations/active",
    access="user",
    limit="reads",
    answers=(Answer(200, "The conversation", Conversation),),
    refusals=(404,),
)
def get_active_conversation(caller: Caller, query: ActiveQuery) -> Response:
    """The conversation with a model that was written to last and is not archived."""
    return respond(Conversation.of(web().resources.conversations.active(caller.user, query.model)))


@routes.route_for(
    "get",
    "/conversations/<conversation_id>",
    access="user",
    limit="reads",
    answers=(Answer(200, "The conversation", Conversation),),
)
def get_conversation(caller: Caller, path: ConversationPath) -> Response:
    """One conversation."""
    return respond(Conversation.of(web().resources.conversations.get(caller.user, path.conversation_id)))


@routes.route_for(
    "patch",
    "/conversations/<conversation_id>",
    access="user",
    limit="reads",
    answers=(Answer(200, "The conversation as it is now", Conversation),),
)
def change_conversation(caller: Caller, path: ConversationPath, body: ChangeBody) -> Response:
    """Rename, archive, pin or tag; choose another model, a system prompt, parameters."""
    given = body.model_dump(exclude={"parameters"})
    given["system_prompt"] = body.system_prompt or None
    emptied = frozenset(name for name in _EMPTIED if name in body.model_fields_set and given[name] is None)
    parameters = body.parameters.model_dump(exclude_none=True) if body.parameters else {}
    command = ChangeConversation(
        **given, clear=emptied, parameters=parameters if "parameters" in body.model_fields_set else None
    )
    changed = web().resources.conversations.change(caller.user, path.conversation_id, command)
    return respond(Conversation.of(changed))


@routes.route_for(
    "put",
    "/conversations/<conversation_id>/seen",
    access="user",
    limit="reads",
    answers=(Answer(200, "The conversation as it is now", Conversation),),
)
def see_conversation(caller: Caller, path: ConversationPath, body: SeenBody) -> Response:
    """Note that the user has seen what has ended in a conversation: it is unread no longer."""
    seen = web().resources.conversations.see(caller.user, path.conversation_id, body.seq)
    return respond(Conversation.of(seen))


@routes.route_for(
    "delete",
    "/conversations/<conversation_id>",
    access="user",
    limit="reads",
    answers=(Answer(204, "It is deleted, and its running generation was cancelled"),),
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
    answers=(Answer(200, "A page, in order", MessagePage),),
)
def list_messages(caller: Caller, path: ConversationPath, query: MessagesQuery) -> Response:
    """A conversation's messages."""
    conversations = web().resources.conversations
    page = conversations.messages(caller.user, path.conversation_id, query.after_seq, query.limit, query.branch)
    return respond(MessagePage.of(page))


@routes.route_for(
    "get",
    "/conversations/<conversation_id>/status",
    access="user",
    limit="reads",
    answers=(
        Answer(200, "Whether an answer is being made", ConversationStatus, headers=("ETag",)),
        Answer(304, "Nothing has changed", headers=("ETag",)),
    ),
)
def get_conversation_status(caller: Caller, path: ConversationPath, header: PollHeaders) -> Response:
    """The state of a conversation: whether an answer is being generated, and its text so far."""
    shown = ConversationStatus.of(web().resources.conversations.status(caller.user, path.conversation_id))
    state = [shown[name] for name in ("generation_id", "status", "cursor", "queue_position")]
    if shown["generation_id"] is None:
        state.append(shown["last_updated"])
    return conditional(lambda: respond(shown), repr(state))
