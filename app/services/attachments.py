"""Files of a new message: found, bounded, and taken by the model that answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from app.domain import message_files
from app.domain.accepts import Accepts
from app.domain.commands import EditMessage, Said, StartGeneration, User
from app.domain.errors import InvalidInput
from app.domain.message_files import FilePart, StoredFile
from app.services.placement import Command, DefaultModel, Placement, place
from app.store.database import Tx


class FileRefused(InvalidInput):
    """A file of the request is refused. ``index`` is its number among the files of all messages, from 0."""

    def __init__(self, index: int, file: FilePart, reason: str) -> None:
        field = f"attachments[{index}]"
        super().__init__(f"{field}: {reason}", field)
        self.file_id = file.get("file_id")
        self.reason = reason


def has_files(command: Command) -> bool:
    """True for a command that brings files."""
    if isinstance(command, StartGeneration) and any(any(message_files.in_items(said.items)) for said in command.said):
        return True
    return isinstance(command, (StartGeneration, EditMessage)) and bool(command.attachments)


class OwnFiles(Protocol):
    """The files of users."""

    def check_all(self, tx: Tx, user_id: str, file_ids: Sequence[str], field: str) -> Sequence[StoredFile]:
        """The files with these ids, none of which is removed before ``tx`` ends. Raises InvalidInput."""
        ...

    def hold(self, tx: Tx, user_id: str, file_ids: Sequence[str]) -> Collection[str]:
        """The ids of those that the user has, none of which is removed before ``tx`` ends."""
        ...


class Attachments:
    """The files of new messages, ``most_bytes`` in one request at most (MAX_PROMPT_FILE_BYTES)."""

    def __init__(self, files: OwnFiles, most_bytes: int) -> None:
        self._files = files
        self._most_bytes = most_bytes

    def place(self, tx: Tx, user: User, command: Command, default_model: DefaultModel) -> Placement:
        """See ``placement.place``; the message has the files that the command attaches. Raises InvalidInput.

        None of the files that new messages name is removed before ``tx`` ends. An edit may keep files that are gone.
        """
        found = place(tx, command, default_model)
        if isinstance(command, StartGeneration):
            self.hold(tx, user, found.said)
        if not isinstance(command, (StartGeneration, EditMessage)) or not command.attachments:
            return found
        files = self._files.check_all(tx, user.id, command.attachments, "attachments")
        parts = [message_files.part_of(file) for file in files]
        said = Said("user", command.message, message_files.items_with(command.message, parts))
        return replace(found, said=(*found.said[:-1], said))

    def hold(self, tx: Tx, user: User, said: Iterable[Said]) -> None:
        """Keep the files that new messages name until ``tx`` ends, by which time the messages refer to them.

        Raises FileRefused for a file that was removed since the request was read.
        """
        files = [part for one in said for part in message_files.in_items(one.items)]
        named = [file["file_id"] for file in files if file.get("file_id")]
        held = self._files.hold(tx, user.id, named) if named else ()
        for index, file in enumerate(files):
            if file.get("file_id") and file["file_id"] not in held:
                raise FileRefused(index, file, "there is no such file")

    def hold_left(self, tx: Tx, user: User, items: Iterable[dict[str, Any] | None] | None) -> None:
        """Keep the files that an imported message names until ``tx`` ends; those that are gone lose their id."""
        files = [part for part in message_files.in_items(items) if part.get("file_id")]
        held = self._files.hold(tx, user.id, [part["file_id"] for part in files]) if files else ()
        for part in files:
            if part["file_id"] not in held:
                part["file_id"] = None

    def check(self, said: Iterable[Said], accepts: Callable[[], Accepts], model: str) -> None:
        """Refuse files that the model does not take, and more bytes than a request may have. Raises FileRefused."""
        files = [part for one in said for part in message_files.in_items(one.items)]
        if not files:
            return
        taken, size = accepts(), 0
        for index, file in enumerate(files):
            media_type = file.get("media_type") or ""
            if not taken.takes(media_type):
                raise FileRefused(index, file, _untaken(file, taken, model))
            size += (file.get("bytes") or 0) if taken.takes_as_it_is(media_type) else 0
            if size > self._most_bytes:
                reason = f"the files of a request must not have more than {self._most_bytes} bytes together"
                raise FileRefused(index, file, f"{reason} (MAX_PROMPT_FILE_BYTES)")


def _untaken(file: FilePart, accepts: Accepts, model: str) -> str:
    media_type = file.get("media_type") or "unknown"
    if media_type.startswith("image/") and not accepts.images:
        return f"the model {model!r} takes no images; choose another model"
    return f"the model {model!r} takes no files of the type {media_type}"
