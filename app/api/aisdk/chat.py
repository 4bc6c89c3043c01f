"""The routes of `useChat`, at its default address.

A refusal is a problem document, as in the native API; the SDK shows its body unchanged. A chat of another user and a
chat that does not exist have one and the same reply.
"""

from __future__ import annotations

from typing import Any

from flask import Response

from app.api import file_intake, streams
from app.api.aisdk import bodies, history, shapes, ui_chunks
from app.api.auth.caller import Caller
from app.api.bodies import WITH_FILES
from app.api.json_response import respond
from app.api.request_parsing import Path
from app.api.routing import EVENT_STREAM, Answer, Routes
from app.api.web_process import WebProcess, web
from app.domain import sse
from app.domain.commands import User
from app.domain.cursor import START
from app.relay.stream_connection import StreamRequest
from app.services.aisdk_chats import ChainedAnswer, ChatRequest
from app.store.generations import Generation

routes = Routes("aisdk", __name__, "/api/chat", "Vercel AI SDK: `useChat` with stop and resume together")

_STREAM = Answer(200, "The answer as a UI message stream, from its beginning", content_type=EVENT_STREAM)

_HEADERS = (*sse.HEADERS, *ui_chunks.HEADERS)


class ChatPath(Path):
    """The id of a chat."""

    chat_id: bodies.Id


@routes.route_for(
    "post", "", access="user", limit="generations", answers=(_STREAM,), refusals=(404, 409), body_kind=WITH_FILES
)
def send_chat_message(caller: Caller, body: bodies.UiChatBody) -> Response:
    """Send a message, edit a message, generate an answer again, or send the outputs of tools.

    A message that is posted twice has one answer; the second request gets its stream.
    """
    process, files = web(), bodies.found_files(body)
    file_intake.take_in(process, caller.user, files)
    wanted = bodies.chat_request(body, files)
    with streams.place_for(process, caller) as place:
        with file_intake.placed(files):
            row = _begin(process, caller.user, wanted)
        answer = process.resources.aisdk_chats.chained(caller.user, row)
        # A client that continues a message has its earlier steps.
        return _respond(process, caller, place, answer, earlier=b"")


@routes.route_for(
    "get",
    "/<path:chat_id>/stream",
    access="user",
    limit="reads",
    answers=(_STREAM, Answer(204, "No answer is running in this chat, or the chat is not yours")),
)
def resume_chat(caller: Caller, path: ChatPath) -> Response:
    """Stream the running answer from its first chunk. An answer that has just ended is streamed again."""
    process = web()
    answer = process.resources.aisdk_chats.current(caller.user, path.chat_id)
    if answer is None:
        return Response(status=204)
    with streams.place_for(process, caller) as place:
        return _respond(process, caller, place, answer, earlier=history.steps(answer.chain))


@routes.route_for(
    "post",
    "/<path:chat_id>/stop",
    access="user",
    limit="reads",
    answers=(Answer(200, "Every answer of this chat is cancelled, or a worker will end it", shapes.ChatStopped),),
)
def stop_chat(caller: Caller, path: ChatPath) -> Response:
    """Stop the running answer. The SDK's own `stop` only closes the connection."""
    web().resources.aisdk_chats.stop(caller.user, path.chat_id)
    return respond({"success": True})


@routes.route_for(
    "get",
    "/<path:chat_id>",
    access="user",
    limit="reads",
    answers=(Answer(200, "The messages of the chat, as `useChat` takes them", shapes.Chat),),
)
def get_chat(caller: Caller, path: ChatPath) -> Response:
    """Get the messages of a chat. A running answer is not among them: it is in the stream."""
    branch = web().resources.aisdk_chats.branch(caller.user, path.chat_id)
    return respond({"id": path.chat_id, "messages": history.ui_messages(branch)})


def _begin(process: WebProcess, user: User, wanted: ChatRequest) -> Generation:
    plan = process.resources.aisdk_chats.plan(user, wanted)
    return plan if isinstance(plan, Generation) else process.begin(user, plan).generation


def _respond(process: WebProcess, caller: Caller, place: str, answer: ChainedAnswer, earlier: bytes) -> Response:
    row = answer.generation
    begin = ui_chunks.opening(answer.message_id, _metadata(row), earlier)
    render_entry = ui_chunks.UiTranslator().render
    return streams.follow(
        process, caller, place, StreamRequest(row.id, START, render=render_entry), begin, headers=_HEADERS
    )


def _metadata(row: Generation) -> dict[str, Any]:
    """Ids by which an app finds the answer in the native API."""
    return {"generation_id": row.id, "conversation_id": row.conversation_id, "model": row.model}
