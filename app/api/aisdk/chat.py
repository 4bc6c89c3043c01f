"""The routes `useChat` asks, at the address it has by default.

Refusals are problems like everywhere else: the SDK shows a body as it is. No route says of another user's chat
anything it would not say of one that does not exist.
"""

from __future__ import annotations

from typing import Any

from flask import Response

from app.api import render, streams
from app.api.aisdk import bodies, history, shapes, translate
from app.api.identity import Caller
from app.api.process import WebProcess, web
from app.api.reading import Path
from app.api.routing import EVENT_STREAM, Answer, Routes
from app.domain import sse
from app.domain.commands import User
from app.domain.cursor import START
from app.services.chats import Ask, Telling
from app.store.generations import Generation

routes = Routes("aisdk", __name__, "/api/chat", "Vercel AI SDK: `useChat` with stop and resume together")

_STREAM = Answer(200, "The answer as a UI message stream, from its beginning", content_type=EVENT_STREAM)

_HEADERS = (*sse.HEADERS, *translate.HEADERS)


class ChatPath(Path):
    """Which chat."""

    chat_id: bodies.Id


@routes.route_for("post", "", access="user", limit="generations", answers=(_STREAM,), refusals=(404, 409))
def send_chat_message(caller: Caller, body: bodies.UiChatBody) -> Response:
    """Send a message, edit one, have one answered once more, or give the outputs of tools.

    The same message posted a second time attaches to its answer.
    """
    process, ask = web(), bodies.ask(body)
    with streams.place_for(process, caller) as place:
        row = _begin(process, caller.user, ask)
        telling = process.resources.chats.telling(caller.user, row)
        # Who continues a message has its earlier steps.
        return _tell(process, caller, place, telling, earlier=b"")


@routes.route_for(
    "get",
    "/<path:chat_id>/stream",
    access="user",
    limit="reads",
    answers=(_STREAM, Answer(204, "Nothing is being answered in this chat, or it is not yours")),
)
def resume_chat(caller: Caller, path: ChatPath) -> Response:
    """Follow the answer that is being made, from its first chunk; one that has just ended is told once more."""
    process = web()
    telling = process.resources.chats.current(caller.user, path.chat_id)
    if telling is None:
        return Response(status=204)
    with streams.place_for(process, caller) as place:
        return _tell(process, caller, place, telling, earlier=history.steps(telling.chain))


@routes.route_for(
    "post",
    "/<path:chat_id>/stop",
    access="user",
    limit="reads",
    answers=(Answer(200, "Nothing runs in this chat any more", shapes.ChatStopped),),
)
def stop_chat(caller: Caller, path: ChatPath) -> Response:
    """Stop the answer itself; the SDK's own `stop` only looks away."""
    web().resources.chats.stop(caller.user, path.chat_id)
    return render.answer({"success": True})


@routes.route_for(
    "get",
    "/<path:chat_id>",
    access="user",
    limit="reads",
    answers=(Answer(200, "The chat's messages, to begin `useChat` with", shapes.Chat),),
)
def get_chat(caller: Caller, path: ChatPath) -> Response:
    """The messages of a chat. An answer that is being made is not among them: the stream has it."""
    branch = web().resources.chats.branch(caller.user, path.chat_id)
    return render.answer({"id": path.chat_id, "messages": history.ui_messages(branch)})


def _begin(process: WebProcess, user: User, ask: Ask) -> Generation:
    plan = process.resources.chats.plan(user, ask)
    return plan if isinstance(plan, Generation) else process.begin(user, plan).generation


def _tell(process: WebProcess, caller: Caller, place: str, telling: Telling, earlier: bytes) -> Response:
    row = telling.generation
    begin = translate.opening(telling.message_id, _metadata(row), earlier)
    render_entry = translate.UiTranslator().render
    return streams.follow(process, caller, place, row.id, START, begin, render=render_entry, headers=_HEADERS)


def _metadata(row: Generation) -> dict[str, Any]:
    """What lets an app find the same answer in the other protocols."""
    return {"generation_id": row.id, "conversation_id": row.conversation_id, "model": row.model}
