"""Routes for conversations and their items."""

from __future__ import annotations

from typing import Any

from flask import Response

from app.api import file_intake
from app.api.auth.caller import Caller
from app.api.bodies import WITH_FILES
from app.api.errors import InvalidFields
from app.api.found_files import FoundFile
from app.api.json_response import respond
from app.api.openai import delivery, ids, items, shapes
from app.api.openai.bodies import (
    ConversationBody,
    ItemPath,
    ItemsBody,
    MetadataBody,
    OpenAIConversationPath,
    PageQuery,
)
from app.api.routing import Answer, Routes
from app.api.web_process import WebProcess, web
from app.domain.commands import Said, User
from app.domain.errors import NotFound
from app.store.messages import Message

routes = Routes("openai_conversations", __name__, "/v1", "OpenAI-compatible: conversations", refusal="OpenAIError")

_OBJECT = Answer(200, "The conversation", shapes.OpenAIConversation)
_ITEMS = Answer(200, "Items", shapes.OpenAIItems)


@routes.route_for(
    "post", "/conversations", access="user", limit="generations", answers=(_OBJECT,), body_kind=WITH_FILES
)
def create_openai_conversation(caller: Caller, body: ConversationBody) -> Response:
    """Create a conversation, empty or with items. The native API lists a conversation when it has a message."""
    process = web()
    said, files = _said(process, caller.user, body.items) if body.items else ((), [])
    dialogues = process.resources.openai_conversations
    conversation_id = dialogues.promise(caller.user, dict(body.metadata or {}))
    if said:
        with file_intake.placed(files):
            dialogues.add(caller.user, conversation_id, said)
    return respond(_conversation(process, caller.user, conversation_id))


@routes.route_for("get", "/conversations/<conversation_id>", access="user", limit="reads", answers=(_OBJECT,))
def get_openai_conversation(caller: Caller, path: OpenAIConversationPath) -> Response:
    """Get a conversation."""
    return respond(_conversation(web(), caller.user, ids.conversation_of(path.conversation_id)))


@routes.route_for("post", "/conversations/<conversation_id>", access="user", limit="reads", answers=(_OBJECT,))
def update_openai_conversation(caller: Caller, path: OpenAIConversationPath, body: MetadataBody) -> Response:
    """Replace the metadata of a conversation."""
    process, conversation_id = web(), ids.conversation_of(path.conversation_id)
    process.resources.openai_conversations.change(caller.user, conversation_id, dict(body.metadata))
    return respond(_conversation(process, caller.user, conversation_id))


@routes.route_for(
    "delete",
    "/conversations/<conversation_id>",
    access="user",
    limit="reads",
    answers=(Answer(200, "The conversation is deleted", shapes.OpenAIDeleted),),
)
def delete_openai_conversation(caller: Caller, path: OpenAIConversationPath) -> Response:
    """Delete a conversation with all its items. Its running answers are stopped."""
    web().resources.openai_conversations.delete(caller.user, ids.conversation_of(path.conversation_id))
    return respond({"id": path.conversation_id, "object": "conversation.deleted", "deleted": True})


@routes.route_for("get", "/conversations/<conversation_id>/items", access="user", limit="reads", answers=(_ITEMS,))
def list_openai_items(caller: Caller, path: OpenAIConversationPath, query: PageQuery) -> Response:
    """List the items of a conversation up to the newest message."""
    process = web()
    messages = process.resources.openai_conversations.branch(caller.user, ids.conversation_of(path.conversation_id))
    shown = delivery.in_order(process, caller.user, messages, newest_first=query.order == "desc")
    some, has_more = items.page(shown, query.after, query.limit)
    return respond(delivery.page(some, has_more=has_more))


@routes.route_for(
    "post",
    "/conversations/<conversation_id>/items",
    access="user",
    limit="reads",
    answers=(_ITEMS,),
    refusals=(409,),
    body_kind=WITH_FILES,
)
def create_openai_items(caller: Caller, path: OpenAIConversationPath, body: ItemsBody) -> Response:
    """Add items. No answer is generated."""
    process = web()
    said, files = _said(process, caller.user, body.items)
    conversation_id = ids.conversation_of(path.conversation_id)
    with file_intake.placed(files):
        added = process.resources.openai_conversations.add(caller.user, conversation_id, said)
    return respond(delivery.page(list(delivery.shown(process, caller.user, added)), has_more=False))


@routes.route_for(
    "get",
    "/conversations/<conversation_id>/items/<item_id>",
    access="user",
    limit="reads",
    answers=(Answer(200, "The item", shapes.OpenAIItem),),
)
def get_openai_item(caller: Caller, path: ItemPath) -> Response:
    """Get an item of a conversation."""
    return respond(_item(web(), caller.user, path)[0])


@routes.route_for(
    "delete", "/conversations/<conversation_id>/items/<item_id>", access="user", limit="reads", answers=(_OBJECT,)
)
def delete_openai_item(caller: Caller, path: ItemPath) -> Response:
    """Delete an item: later answers are made without it. Its response still has it."""
    process, conversation_id = web(), ids.conversation_of(path.conversation_id)
    _, whole = _item(process, caller.user, path)

    def left(message: Message) -> tuple[list[Any], str]:
        kept = items.without(message, whole, path.item_id)
        return kept, items.text_of(kept)

    message_id = ids.item_of(path.item_id).message_id
    process.resources.openai_conversations.take_out(caller.user, conversation_id, message_id, left)
    return respond(_conversation(process, caller.user, conversation_id))


def _conversation(process: WebProcess, user: User, conversation_id: str) -> dict[str, Any]:
    metadata = process.resources.openai_conversations.metadata(user, conversation_id)
    created = ids.second_of(conversation_id)
    shown = ids.conversation(conversation_id)
    return {"id": shown, "object": "conversation", "created_at": created, "metadata": metadata}


def _said(process: WebProcess, user: User, given: list[Any]) -> tuple[tuple[Said, ...], list[FoundFile]]:
    """The items as messages, and the files in them, which are taken in."""
    files: list[FoundFile] = []
    parsed = items.parse(given, "items", files=files)
    if any(item["type"] == "item_reference" for item in parsed):
        raise InvalidFields([("items", "a reference cannot be added")])
    file_intake.take_in(process, user, files)
    return items.said(parsed), files


def _item(process: WebProcess, user: User, path: ItemPath) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The item of a path, and all items of its message."""
    wanted = ids.item_of(path.item_id)
    conversation_id = ids.conversation_of(path.conversation_id)
    message = process.resources.openai_conversations.message(user, conversation_id, wanted.message_id)
    siblings = list(delivery.shown(process, user, [message]))
    found = [item for item in siblings if item["id"] == path.item_id]
    if not found:
        raise NotFound("There is no such item.")
    return found[0], siblings
