"""Conversations of ChatGPT and LibreChat as messages of ours, and exports that are none."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from app.api.import_foreign import ForeignExport, read
from app.api.split_body import elements, names
from app.config import Settings
from app.domain.errors import MalformedInput
from app.domain.other_exports import chatgpt, librechat
from app.domain.other_exports.message_tree import KeptConversation, Node, UnreadableExport, ordered

SETTINGS = Settings(database_url="postgresql://a:b@c/d", redis_url="redis://c", jwt_secret="x" * 32)
BEGUN = 1_700_000_000.0


def node(role: str, text: str, parent: str | None, *, at: float | None = None, **fields: Any) -> dict[str, Any]:
    """A node of ChatGPT's mapping. ``fields`` replace those of the message."""
    message = {
        "author": {"role": role},
        "create_time": at,
        "content": {"content_type": "text", "parts": [text]},
        "metadata": {},
        "recipient": "all",
        **fields,
    }
    return {"message": message, "parent": parent, "children": []}


def conversation(mapping: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"title": "T", "create_time": BEGUN, "conversation_id": "c1", "mapping": mapping, **fields}


def shown(kept: KeptConversation) -> list[tuple[int | None, str, str]]:
    return [(message.parent, message.role, message.content) for message in kept.messages]


def test_steps_of_an_answer_are_one_answer_and_hidden_messages_are_left_out() -> None:
    thoughts = {"content_type": "thoughts", "thoughts": [{"summary": "S", "content": "First I think."}]}
    picture = {"content_type": "multimodal_text", "parts": [{"content_type": "image_asset_pointer"}]}
    mapping = {
        "root": {"message": None, "parent": None},
        "rules": node("system", "Be kind.", "root"),
        "profile": node("user", "I am Ada.", "rules", metadata={"is_visually_hidden_from_conversation": True}),
        "q": node("user", "Draw a cat.", "profile", at=BEGUN + 1),
        "think": node("assistant", "", "q", content=thoughts),
        "call": node("assistant", "draw(cat)", "think", recipient="images.make"),
        "image": node("tool", "", "call", content=picture),
        "a": node("assistant", "A cat.\ue200cite\ue202turn0\ue201", "image", metadata={"model_slug": "m-1"}),
    }
    kept = chatgpt.read(conversation(mapping, is_archived=True, is_starred=True))
    assert shown(kept) == [(None, "user", "Draw a cat."), (1, "assistant", "[Image: not in the export]\n\nA cat.")]
    answer = kept.messages[1]
    assert (answer.reasoning, answer.model, answer.created_at.timestamp()) == ("First I think.", "m-1", BEGUN + 1)
    assert (kept.title, kept.id, kept.archived, kept.pinned) == ("T", "c1", True, True)


def test_branches_stay_and_the_current_one_is_the_newest() -> None:
    mapping = {
        "q": node("user", "q", None),
        "a1": node("assistant", "a1", "q"),
        "a2": node("assistant", "a2", "q"),
        "more": node("user", "more", "a1"),
        "a3": node("assistant", "a3", "more"),
    }
    assert shown(chatgpt.read(conversation(mapping, current_node="a3"))) == [
        (None, "user", "q"),
        (1, "assistant", "a2"),
        (1, "assistant", "a1"),
        (3, "user", "more"),
        (4, "assistant", "a3"),
    ]
    newest = chatgpt.read(conversation(mapping, current_node="a2"))
    assert newest.messages[-1].content == "a2"


def test_reasoning_before_several_answers_is_kept_once_and_with_the_newest() -> None:
    """A copy for each answer would make gigabytes of an export of a few megabytes."""

    def thoughts(text: str, parent: str) -> dict[str, Any]:
        content = {"content_type": "thoughts", "thoughts": [{"content": text}]}
        return node("assistant", "", parent, content=content)

    mapping = {"q": node("user", "q", None), "t": thoughts("long", "q")}
    for n in range(3):
        mapping |= {f"t{n}": thoughts(f"t{n}", "t"), f"a{n}": node("assistant", f"a{n}", f"t{n}")}
    kept = chatgpt.read(conversation(mapping, current_node="a1"))
    assert [(one.content, one.reasoning) for one in kept.messages] == [
        ("q", ""), ("a0", "t0"), ("a2", "t2"), ("a1", "long\n\nt1"),
    ]  # fmt: skip


class Counted(str):
    """A text that counts the characters of the texts that were made of it by addition."""

    made = 0

    def __add__(self, other: str) -> Counted:
        Counted.made += len(self) + len(other)
        return Counted(str.__add__(self, other))

    def __radd__(self, other: str) -> Counted:
        return Counted(other) + self


def test_an_answer_of_many_steps_is_not_copied_at_each_step() -> None:
    steps = {str(n): Node(str(n - 1), "assistant", Counted("x"), "r") for n in range(1, 1000)}
    _, answer = ordered({"0": Node(None, "user", "q"), **steps}, None, datetime.now(UTC))
    assert answer.content == "\n\n".join(["x"] * 999)
    assert answer.reasoning == "\n\n".join(["r"] * 999)
    assert Counted.made <= len(answer.content)


def test_a_long_chain_and_a_circle_end() -> None:
    chain = {str(n): node("user" if n % 2 else "assistant", f"m{n}", str(n - 1) if n else None) for n in range(5000)}
    assert len(chatgpt.read(conversation(chain)).messages) == 5000
    circle = {"a": node("user", "a", "b"), "b": node("assistant", "b", "a")}
    with pytest.raises(UnreadableExport, match="no message"):
        chatgpt.read(conversation(circle, current_node="a"))


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"mapping": []},
        {"mapping": {}},
        {"mapping": {"a": None, "b": 1, "c": {"message": "x", "parent": 4}}},
        {"mapping": {"a": node("user", " ", None)}, "create_time": "soon"},
        {"mapping": {"a": node("user", "x", None, content={"content_type": "text", "parts": "x"})}},
    ],
)
def test_what_is_no_conversation_of_chatgpt_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(UnreadableExport):
        chatgpt.read(value)


def test_texts_and_times_can_be_stored() -> None:
    kept = chatgpt.read(
        conversation(
            {"q": node("user", "a\0b\ud800", None, at=9e99), "a": node("assistant", "x", "q", at=float("nan"))},
            title="two\nlines\u202e",
            create_time=-5,
        )
    )
    assert (kept.messages[0].content, kept.title) == ("ab?", "two lines")
    assert all(message.created_at.year >= 2026 for message in kept.messages)
    for at in (10**310, -(10**310), float("inf"), True, "1"):
        [message] = chatgpt.read(conversation({"q": node("user", "x", None, at=at)})).messages  # type: ignore[arg-type]
        assert message.created_at.timestamp() == BEGUN, at


FLAT = {
    "conversationId": "l1",
    "title": "Flat",
    "options": {"promptPrefix": "Be brief.", "model": "m"},
    "messages": [
        {
            "messageId": "1",
            "parentMessageId": "00000000-0000-0000-0000-000000000000",
            "isCreatedByUser": True,
            "text": "q",
            "createdAt": "2024-05-01T10:00:00.000Z",
            "files": [{"filename": "a.pdf"}],
        },
        {
            "messageId": "2",
            "parentMessageId": "1",
            "isCreatedByUser": False,
            "model": "m-1",
            "text": "",
            "content": [{"type": "think", "think": "hm"}, {"type": "text", "text": {"value": "a"}}],
        },
        {"messageId": "3", "parentMessageId": "1", "sender": "M", "isCreatedByUser": False, "text": "b"},
        {"messageId": "4", "parentMessageId": "1", "isCreatedByUser": False, "text": "quota", "error": True},
    ],
}


def test_librechats_list_and_tree_are_read() -> None:
    kept = librechat.read(FLAT)
    assert shown(kept) == [
        (None, "user", "q\n\n[File: not in the export]"), (1, "assistant", "a"), (1, "assistant", "b"),
    ]  # fmt: skip
    assert (kept.system_prompt, kept.messages[1].reasoning, kept.messages[1].model) == ("Be brief.", "hm", "m-1")
    assert kept.created_at.isoformat() == "2024-05-01T10:00:00+00:00"
    first, *others = FLAT["messages"]  # type: ignore[misc]
    bare = [{name: value for name, value in one.items() if name != "parentMessageId"} for one in (first, *others)]  # type: ignore[attr-defined]
    tree = {**FLAT, "messages": None, "messagesTree": [{**bare[0], "children": bare[1:]}], "recursive": True}
    assert shown(librechat.read(tree)) == shown(kept)
    in_order = {**FLAT, "messages": [bare[0], bare[1], {"messageId": "5", "sender": "User", "text": "more"}]}
    assert shown(librechat.read(in_order))[2:] == [(2, "user", "more")]


def test_an_array_is_cut_into_its_elements() -> None:
    body = b' [ {"a": "],["}, [1, 2], "x" ] '
    assert [body[part].strip() for part in elements(body, 9)] == [b'{"a": "],["}', b"[1, 2]", b'"x"']
    assert len(elements(b"[" + b"1," * 100 + b"1]", 7)) == 7
    for broken in (b"", b"[", b"[1", b"[1] 2", b"[]", b"[ ]", b"[[[", b'["'):
        assert elements(broken, 9) == []
    assert list(names(b'{"a": "mapping", "b" : {"mapping": 1}}')) == ["a", "b"]


def test_the_kind_of_a_body_is_found() -> None:
    for body in (
        b'[{"mapping": {}}]',
        b'{"title": "format", "mapping": {}}',
        b'{"conversationId": "1", "messages": []}',
    ):
        assert isinstance(read(body, SETTINGS), ForeignExport)
    for body in (b"[]", b'[{"messages": []}]', b"[1]", b'"mapping"', b'[{"mapping": {}}', b'["mapping"]'):
        with pytest.raises(MalformedInput, match="must be a JSON object"):
            read(body, SETTINGS)


def test_a_part_that_cannot_be_read_is_left_out_with_the_reason() -> None:
    small = SETTINGS.model_copy(update={"max_import_conversation_bytes": 1024, "max_import_messages": 2})
    large = b'{"title": "L", "mapping": {"a": "' + b"x" * 2000 + b'"}}'
    found = read(b'[{"mapping": {}, "title": "E"}, {"mapping": x}, 5, ' + large + b"]", small)
    assert isinstance(found, ForeignExport)
    reasons = [(one.title, one.reason) for one in found]
    assert [title for title, _ in reasons] == ["E", None, None, None]
    assert [str(reason).partition(" ")[0] for _, reason in reasons] == ["It", "The", "It", "It"]
    assert "MAX_IMPORT_CONVERSATION_BYTES" in str(reasons[3][1])


def test_a_conversation_of_an_unknown_form_is_left_out_and_the_others_are_read() -> None:
    parts = {"content_type": "multimodal_text", "parts": [{"content_type": ["unhashable"]}]}
    broken = conversation({"q": node("user", "", None, content=parts)}, title="broken")
    whole = conversation({"q": node("user", "x", None)}, title="whole")
    found = read(json.dumps([whole, broken, whole]).encode(), SETTINGS)
    assert isinstance(found, ForeignExport)
    assert [(one.title, one.reason) for one in found] == [
        ("whole", None), ("broken", "It has a form that is not known."), ("whole", None),
    ]  # fmt: skip
