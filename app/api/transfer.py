"""Export and import of a whole conversation; ``import_body`` describes the JSON form.

The form has no ids: an import makes new ones. So a conversation that is exported, imported and exported again is the
same, byte for byte. An answer that is still being generated is exported as it is stored at that moment, and imported as
cancelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any, Literal

import orjson
from flask import Response
from pydantic import Field

from app.api import file_intake
from app.api.auth.caller import Caller
from app.api.conversations import ConversationPath
from app.api.exported_files import ExportedFiles
from app.api.fields import Id, KeyHeaders
from app.api.import_body import ImportBody, command_of
from app.api.import_foreign import IMPORT, ForeignExport
from app.api.json_response import respond
from app.api.representations.conversation import Conversation, ExportedConversation
from app.api.representations.imports import Imported, ImportSummary, Summary
from app.api.request_parsing import Query
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.domain import message_files
from app.domain.open_markdown import closing_line
from app.domain.single_line import single_line
from app.services.import_export import Export
from app.store import conversations
from app.store.messages import Message

FORMAT = "unbroken.conversation"
VERSION = 1
_MARKDOWN = "text/markdown; charset=utf-8"

routes = Routes("transfer", __name__, "/api/v1", "Taking conversations along")


class ImportHeaders(KeyHeaders):
    """The idempotency key of an import."""

    idempotency_key: str | None = Field(
        None, alias="Idempotency-Key", description="Your name for this request; a repeat is not done twice"
    )


class ExportQuery(Query):
    """The form of the export, and for Markdown the branch."""

    format: Literal["json", "md"] = Field("json", description="md: one branch, to be read")
    branch: Id | None = Field(None, description="For md: the branch with this message; the newest when left out")


@routes.route_for(
    "get",
    "/conversations/<conversation_id>/export",
    access="user",
    limit="reads",
    answers=(
        Answer(200, "The conversation", ExportedConversation, headers=("Content-Disposition",)),
        Answer(200, "The conversation", None, "text/markdown"),
    ),
)
def export_conversation(caller: Caller, path: ConversationPath, query: ExportQuery) -> Response:
    """Export a conversation."""
    transfer = web().resources.import_export
    if query.format == "md":
        export = transfer.export_branch(caller.user, path.conversation_id, query.branch)
        return _attachment(_markdown(export), _MARKDOWN, f"conversation-{path.conversation_id}.md")
    export = transfer.export(caller.user, path.conversation_id)
    files = ExportedFiles(web().resources.files, caller.user.id, web().settings.file_bytes_per_user)
    return _attachment(_json(export, files), "application/json", f"conversation-{path.conversation_id}.json")


@routes.route_for(
    "post",
    "/conversations/import",
    access="user",
    limit="imports",
    answers=(
        Answer(201, "The conversation, under an id of its own; or a summary", Imported, headers=("Location",)),
        Answer(200, "It was imported before: what that led to; or a summary", Imported, headers=("Location",)),
    ),
    body_kind=IMPORT,
)
def import_conversation(caller: Caller, header: ImportHeaders, body: ImportBody) -> Response:
    """Import a conversation that was exported. It counts as a new one.

    The body may also be an export of another program: ChatGPT's `conversations.json`, a part of it, or a conversation
    of LibreChat as JSON. Then the response is a summary: what was imported, and what was left out, with the reason. A
    conversation that was imported before, with the same content, is left out.
    """
    # The document describes our own form; the reader of the body knows the others.
    given: object = body
    if isinstance(given, ForeignExport):
        return _import_foreign(caller, given)
    take_in = file_intake.imported(web(), caller.user)
    imported, key = command_of(body, take_in), header.key(None)
    made, new = web().resources.import_export.add(caller.user, imported, key, web().limits.new_conversations)
    location = {"Location": f"/api/v1/conversations/{made.id}"}
    return respond(Conversation.of(made), 201 if new else 200, location)


def _import_foreign(caller: Caller, export: ForeignExport) -> Response:
    """Store the conversations of another program, each in a transaction of its own."""
    web().limits.new_conversations()
    summary = Summary()
    for foreign in export:
        if foreign.conversation is None:
            summary.skip(foreign.title, foreign.reason or "")
            continue
        made, messages, is_new = web().resources.import_export.add_foreign(
            caller.user, foreign.conversation, foreign.source
        )
        if is_new:
            summary.conversations.append(made)
            summary.messages += messages
        else:
            summary.skip(foreign.title, "It was imported before.")
    return respond(ImportSummary.of(summary), 201 if summary.conversations else 200)


def _attachment(parts: Iterator[bytes], content_type: str, name: str) -> Response:
    return Response(parts, content_type=content_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _json(export: Export, files: ExportedFiles) -> Iterator[bytes]:
    """The whole document. A message without files is one piece."""
    numbers = {place.id: number for number, place in enumerate(export.places, 1)}
    head = {"format": FORMAT, "version": VERSION, "conversation": _conversation(export.conversation)}
    yield _dump(head)[:-1] + b',"messages":['
    for n, message in enumerate(export.messages):
        parent = numbers[message.parent_id] if message.parent_id else None
        yield from _message(message, parent, files, b",\n" if n else b"\n")
    yield b"\n]}\n"


def _conversation(found: conversations.Conversation) -> dict[str, Any]:
    """The fields of a conversation. Optional fields that are empty are left out."""
    names = ("title", "model", "metadata", "created_at", "archived_at")
    optional = ("pinned", "tags", "system_prompt", "parameters")
    shown = {name: getattr(found, name) for name in names}
    return shown | {name: value for name in optional if (value := getattr(found, name))}


def _message(said: Message, parent: int | None, files: ExportedFiles, opening: bytes) -> Iterator[bytes]:
    """All fields of a message as JSON, in pieces behind ``opening``. Optional fields that are empty are left out."""
    needed = ("role", "status", "content", "created_at")
    optional = ("reasoning", "tools", "model", "client_msg_id", "usage", "metadata", "feedback")
    shown = {"parent": parent, **{name: getattr(said, name) for name in needed}}
    shown |= {name: value for name in optional if (value := getattr(said, name))}
    if not said.items:
        yield opening + _dump(shown)
        return
    yield opening + _dump(shown)[:-1] + b',"items":'
    yield from files.items(said.items)
    yield b"}"


def _dump(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def _markdown(export: Export) -> Iterator[bytes]:
    """One branch as Markdown."""
    title = export.conversation.title or export.conversation.preview or "Conversation"
    yield f"# {single_line(title)}\n".encode()
    for said in export.messages:
        who = "You" if said.role == "user" else single_line(said.model or "") or "Assistant"
        when = said.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
        ending = "" if said.status == "completed" else f" · {said.status}"
        yield f"\n## {who}\n\n*{when}{ending}*\n\n".encode()
        for part in message_files.in_items(said.items):
            yield f"> File: {single_line(part.get('filename') or 'without a name')}\n\n".encode()
        for call in said.tools:
            what = f"{single_line(call['tool'])} {single_line(call['arguments'])}"
            yield f"> `{what}` → {single_line(call['result'] or call['state'])}\n\n".encode()
        if said.content:
            end = closing_line(said.content)
            yield f"{said.content}\n{end}\n".encode() if end else said.content.encode() + b"\n"
