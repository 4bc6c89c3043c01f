"""Turns as a provider gets them: roles, calls with their outputs, and nothing an upstream would refuse."""

from __future__ import annotations

from app.services.history import Turn, with_calls
from worker.context import chat_messages
from worker.providers.base import ChatMessage, ToolCall

CALL = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "2"}]}


def said(role: str, text: str) -> dict[str, object]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def test_plain_turns_are_messages_behind_what_the_system_says() -> None:
    turns = [Turn("1", "user", "Hi"), Turn("2", "assistant", "Hello")]
    assert chat_messages(turns, (None, "Be kind.")) == (
        ChatMessage("system", "Be kind."),
        ChatMessage("user", "Hi"),
        ChatMessage("assistant", "Hello"),
    )


def test_a_call_belongs_to_the_text_before_it_and_its_output_follows() -> None:
    tools = [{"call_id": "c1", "tool": "add", "state": "started", "arguments": "{}"}]
    turns = [Turn("2", "assistant", "Let me see.", with_calls("Let me see.", tools)), Turn("3", "user", "", [OUTPUT])]
    assert chat_messages(turns) == (
        ChatMessage("assistant", "Let me see.", (ToolCall("c1", "add", "{}"),)),
        ChatMessage("tool", "2", tool_call_id="c1"),
    )


def test_a_call_nobody_answered_is_left_out() -> None:
    turns = [Turn("2", "assistant", "", [CALL]), Turn("3", "user", "Never mind")]
    assert chat_messages(turns) == (ChatMessage("user", "Never mind"),)


def test_developers_are_the_system_and_thoughts_and_removed_items_are_nothing() -> None:
    reasoning = {"type": "reasoning", "summary": [], "content": []}
    turns = [Turn("1", "user", "x", [said("developer", "Be brief."), None, reasoning, said("user", "Hi")])]
    assert chat_messages(turns) == (ChatMessage("system", "Be brief."), ChatMessage("user", "Hi"))


def test_texts_of_an_assistant_around_a_call_keep_their_order() -> None:
    turns = [
        Turn("1", "assistant", "", [said("assistant", "a"), CALL, said("assistant", "b")]),
        Turn("2", "user", "", [OUTPUT]),
    ]
    assert chat_messages(turns) == (
        ChatMessage("assistant", "a", (ToolCall("c1", "add", "{}"),)),
        ChatMessage("assistant", "b"),
        ChatMessage("tool", "2", tool_call_id="c1"),
    )
