"""An import's key belongs to its content, also when a client repeats the request after an update of the service."""

from __future__ import annotations

from datetime import UTC, datetime

from app.services.import_export import ImportConversation, ImportedMessage, _survey

AT = datetime(2026, 1, 1, tzinfo=UTC)
# Computed from these values by the earlier code, which hashed the import as one object.
HASH = "ec64a7473748441ab02cdcbf80f1bea86ccb69d71515886239f74a04e90dbe48"


def test_the_hash_of_an_import_stays_as_it_was() -> None:
    first = ImportedMessage(
        parent=None,
        role="user",
        status="completed",
        content="hé\U0001f600",
        created_at=AT,
        tools=[{"b": 1, "a": 2}],
        usage={"y": 1, "b": 2},
        metadata={"z": "1", "a": "2"},
        items=[None, {"q": 1, "c": 2}],
    )
    second = ImportedMessage(
        parent=1,
        role="user",
        status="completed",
        content="",
        created_at=AT,
        tools=[{"b": 1, "a": 2}],
        usage={"y": 1, "b": 2},
        metadata={"z": "1", "a": "2"},
        items=[None, {"q": 1, "c": 2}],
    )
    imported = ImportConversation("T", None, {"zé": "1", "a": "2", "Z": "x"}, AT, None, lambda: iter([first, second]))
    survey = _survey(imported)
    assert survey.hash.hex() == HASH
    assert (survey.count, survey.preview, survey.last_message_at) == (2, "hé\U0001f600", AT)
