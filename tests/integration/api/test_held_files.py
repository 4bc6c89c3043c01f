"""Files that new messages name: none of them is removed between the look at it and the message that refers to it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from app.domain.commands import Said, StartGeneration, User
from app.domain.message_files import items_with, part_of
from app.services.attachments import Attachments, FileRefused
from app.services.import_export import ImportConversation, ImportedMessage
from app.store import removed_files
from app.store.database import fetch
from app.wiring import Resources

from .conftest import Person
from .test_attachments import messages, upload


@pytest.fixture
def user(alice: Person) -> User:
    return User(alice.get("/api/v1/me").json["id"], alice.subject)


def said(resources: Resources, user: User, file_id: str) -> Said:
    """A message with this file."""
    return Said("user", "Look", items_with("Look", [part_of(resources.files.find(user.id, file_id))]))


def removable(resources: Resources, file_id: str) -> bool:
    """True when a sweep could remove the file now."""
    with resources.database.system() as sweep:
        return bool(fetch(sweep, "SELECT 1 FROM files WHERE id = :id FOR UPDATE SKIP LOCKED", id=file_id))


def remove(resources: Resources, file_id: str) -> None:
    """Remove the row of a file as a sweep does."""
    with resources.database.system() as sweep:
        assert removed_files.remove_unused(sweep, [file_id]) == 1


def test_files_of_a_question_are_held_until_it_is_stored(alice: Person, resources: Resources, user: User) -> None:
    """A sweep may come between the look at a file and the transaction that refers to it."""
    file_id = upload(alice)
    command = StartGeneration(message="Look", said=(said(resources, user, file_id),))
    attached = Attachments(resources.files, 1_000_000)
    with resources.database.user(user.id) as tx:
        attached.place(tx, user, command, lambda _: "offline-fast")
        assert not removable(resources, file_id)
    alice.delete(f"/api/v1/files/{file_id}")
    with pytest.raises(FileRefused, match="there is no such file") as refusal:
        resources.starter.start(user, command)
    assert refusal.value.file_id == file_id


def test_items_that_are_added_on_v1_hold_their_files(alice: Person, resources: Resources, user: User) -> None:
    """A file that a sweep has removed since the request was read is refused, and no message names it."""
    conversation_id = resources.openai_conversations.promise(user, {})
    file_id = upload(alice)
    added = said(resources, user, file_id)
    remove(resources, file_id)
    with pytest.raises(FileRefused, match="there is no such file"):
        resources.openai_conversations.add(user, conversation_id, [added])
    assert alice.get(f"/api/v1/conversations/{conversation_id}").status_code == 404


def test_an_import_holds_the_files_of_its_messages(alice: Person, resources: Resources, user: User) -> None:
    """The messages of an import are read twice, and stored in batches: a sweep comes between two readings."""
    gone, held = upload(alice, b"gone", "gone.txt"), upload(alice)
    files = [resources.files.find(user.id, one) for one in (gone, held)]
    readings = 0

    def read() -> Iterator[ImportedMessage]:
        nonlocal readings
        readings += 1
        if readings == 2:
            remove(resources, gone)
        items = list(items_with("Look", [part_of(file) for file in files]))
        yield ImportedMessage(None, "user", "completed", "Look", datetime.now(UTC), items=items)
        if readings == 2:
            assert not removable(resources, held), "a message that is not stored yet names it"
        yield ImportedMessage(1, "assistant", "completed", "Seen", datetime.now(UTC))

    imported = ImportConversation("Files", None, {}, datetime.now(UTC), None, read)
    conversation, _ = resources.import_export.add(user, imported, None, lambda: None)
    shown = messages(alice, conversation.id)[0]["attachments"]
    assert [one["file_id"] for one in shown] == [None, held]
    assert [one["filename"] for one in shown] == ["gone.txt", "cat.png"]
