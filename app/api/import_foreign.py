"""The exports of other programs as bodies of an import: many conversations, each read when it is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from app.api import json_body
from app.api.bodies import BodyKind
from app.api.errors import InvalidFields
from app.api.import_body import LONGEST_TEXT, ImportBody
from app.api.split_body import elements, names
from app.config import Settings
from app.domain.errors import MalformedInput
from app.domain.other_exports import chatgpt, librechat
from app.domain.other_exports.message_tree import KeptConversation, KeptMessage, UnreadableExport, line_of
from app.services.import_export import ImportConversation, ImportedMessage

_log = structlog.get_logger()
_ARRAY = re.compile(rb"[ \t\r\n]*\[")
# Names of fields that only one of the exports has.
_OURS = frozenset({"format", "version", "conversation"})
_THEIRS = frozenset({"mapping", "conversationId", "messagesTree"})


@dataclass(frozen=True, slots=True)
class Foreign:
    """A conversation of another program. ``conversation`` None: it cannot be imported, for the ``reason``."""

    title: str | None
    conversation: ImportConversation | None
    reason: str | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class ForeignExport:
    """The conversations of an export. Each is parsed when it is iterated, and none is kept."""

    data: bytes
    parts: list[slice]
    settings: Settings

    def __iter__(self) -> Iterator[Foreign]:
        return map(self._read, range(len(self.parts)))

    def _read(self, index: int) -> Foreign:
        part, most = self.parts[index], self.settings.max_import_conversation_bytes
        if part.stop - part.start > most:
            return Foreign(None, None, f"It has more than {most} bytes (MAX_IMPORT_CONVERSATION_BYTES).")
        data = self.data[part]
        try:
            value = json_body.parse_large(data, "The conversation")
        except MalformedInput as error:
            return Foreign(None, None, error.detail)
        if not isinstance(value, dict):
            return Foreign(None, None, "It is no object.")
        title = line_of(value.get("title"))
        try:
            kept = chatgpt.read(value) if "mapping" in value else librechat.read(value)
            return Foreign(title, _command(kept, self.settings), source=kept.source)
        except UnreadableExport as error:
            return Foreign(title, None, str(error))
        except Exception as error:  # an export of any form must not end an import that has stored other conversations
            _log.error("conversation not read", action="import", error=type(error).__name__)
            return Foreign(title, None, "It has a form that is not known.")


def read(data: bytes, settings: Settings) -> ImportBody | ForeignExport:
    """The body of an import: a conversation as we export it, or the export of another program.

    Raises MalformedInput, InvalidFields, and BodyTooLarge for the part of ours beside the messages.
    """
    if _ARRAY.match(data):
        most = settings.max_import_conversations
        parts = elements(data, most + 1)
        if len(parts) > most:
            raise InvalidFields([("", f"There are more than {most} conversations (MAX_IMPORT_CONVERSATIONS)")])
        if not parts or not any("mapping" in names(data[part]) for part in parts):
            raise MalformedInput(
                "The body must be a JSON object, or the array of conversations that ChatGPT exports, in UTF-8."
            )
        return ForeignExport(data, parts, settings)
    if _is_foreign(data):
        return ForeignExport(data, [slice(0, len(data))], settings)
    return ImportBody.read(data, settings)


IMPORT = BodyKind("max_import_bytes", "max_import_values", read, "max_imports_at_once", "imports")


def _is_foreign(data: bytes) -> bool:
    """True when the first telling name of a field is one of another program."""
    return next((name in _THEIRS for name in names(data) if name in _OURS | _THEIRS), False)


def _command(kept: KeptConversation, settings: Settings) -> ImportConversation:
    """The conversation as the command of the service. Raises UnreadableExport for one beyond the limits."""
    if len(kept.messages) > settings.max_import_messages:
        raise UnreadableExport(f"It has more than {settings.max_import_messages} messages (MAX_IMPORT_MESSAGES).")
    for message in kept.messages:
        most = settings.max_prompt_chars if message.role == "user" else LONGEST_TEXT
        if max(len(message.content), len(message.reasoning)) > most:
            of = " (MAX_PROMPT_CHARS)" if message.role == "user" else ""
            raise UnreadableExport(f"A message has more than {most} characters{of}.")
    return ImportConversation(
        title=kept.title,
        # The models of another service do not answer here.
        model=None,
        metadata={"imported_from": kept.source, **({"original_id": kept.id} if kept.id else {})},
        created_at=kept.created_at,
        archived_at=kept.messages[-1].created_at if kept.archived else None,
        messages=lambda: map(_message, kept.messages),
        pinned=kept.pinned,
        system_prompt=kept.system_prompt,
    )


def _message(kept: KeptMessage) -> ImportedMessage:
    return ImportedMessage(
        parent=kept.parent,
        role=kept.role,
        status="completed",
        content=kept.content,
        created_at=kept.created_at,
        reasoning=kept.reasoning,
        model=kept.model,
    )
