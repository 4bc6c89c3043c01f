"""Turns in the form for a provider: roles, calls with their outputs, and nothing that an upstream would refuse."""

from __future__ import annotations

from app.services.history import Turn, with_calls
from worker import prompt
from worker.providers.base import ChatMessage, ToolCall
from worker.providers.chat.history import normal

CALL = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "2"}]}


def chat_messages(turns: list[Turn], system: tuple[str | None, ...] = ()) -> tuple[ChatMessage, ...]:
    return normal(prompt.chat_messages(turns, system))


def said(role: str, text: str) -> dict[str, object]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def test_plain_turns_are_messages_behind_what_the_system_says() -> None:
    turns = [Turn("1", "user", "Hi"), Turn("2", "assistant", "Hello")]
    assert chat_messages(turns, (None, "Be kind.")) == (
        ChatMessage("system", "Be kind."),
        ChatMessage("user", "Hi"),
        ChatMessage("assistant", "Hello"),
    )


HI = Turn("1", "user", "Hi")


def test_a_call_belongs_to_the_text_before_it_and_its_output_follows() -> None:
    tools = [{"call_id": "c1", "tool": "add", "state": "started", "arguments": "{}"}]
    answer = Turn("2", "assistant", "Let me see.", with_calls("Let me see.", tools))
    assert chat_messages([HI, answer, Turn("3", "user", "", [OUTPUT])]) == (
        ChatMessage("user", "Hi"),
        ChatMessage("assistant", "Let me see.", (ToolCall("c1", "add", "{}"),)),
        ChatMessage("tool", "2", tool_call_id="c1"),
    )


def test_a_call_nobody_answered_is_left_out() -> None:
    turns = [HI, Turn("2", "assistant", "", [CALL]), Turn("3", "user", "Never mind")]
    assert chat_messages(turns) == (ChatMessage("user", "Hi\n\nNever mind"),)


def test_an_output_whose_call_was_deleted_is_left_out() -> None:
    turns = [HI, Turn("2", "assistant", "", [None]), Turn("3", "user", "", [OUTPUT, said("user", "And now?")])]
    assert chat_messages(turns) == (ChatMessage("user", "Hi\n\nAnd now?"),)


def test_instructions_of_all_kinds_are_one_message_at_the_front() -> None:
    items = [said("developer", "Be brief."), None, said("user", "Hi"), said("system", "Be exact.")]
    assert chat_messages([Turn("1", "user", "x", items)], ("Be kind.", None)) == (
        ChatMessage("system", "Be kind.\n\nBe brief.\n\nBe exact."),
        ChatMessage("user", "Hi"),
    )


def test_texts_of_an_assistant_around_a_call_follow_each_other_behind_its_output() -> None:
    turns = [
        HI,
        Turn("1", "assistant", "", [said("assistant", "a"), CALL, said("assistant", "b")]),
        Turn("2", "user", "", [OUTPUT]),
    ]
    assert chat_messages(turns) == (
        ChatMessage("user", "Hi"),
        ChatMessage("assistant", "a", (ToolCall("c1", "add", "{}"),)),
        ChatMessage("tool", "2", tool_call_id="c1"),
        ChatMessage("assistant", "b"),
        ChatMessage("user", "…"),
    )


def test_the_reasoning_and_the_extras_of_a_round_go_back_with_its_calls() -> None:
    place = {"round": 1, "text": 2, "reasoning": 3}
    first = {"call_id": "c1", "tool": "add", "state": "finished", "arguments": "", "result": "2", "place": place}
    extra = {"extra_content": {"google": {"thought_signature": "x"}}, "anthropic": {"thinking": []}}
    second = {**first, "call_id": "c2", "arguments": "{", "place": {"round": 2, "text": 2, "reasoning": 5}}
    items = with_calls("So: 2", [{**first, "extra": extra}, second], "Hm.OK.")
    assert chat_messages([HI, Turn("2", "assistant", "So: 2", items), HI])[1:] == (
        ChatMessage("assistant", "So", (ToolCall("c1", "add", "{}", extra),), reasoning="Hm."),
        ChatMessage("tool", "2", tool_call_id="c1"),
        ChatMessage("assistant", "", (ToolCall("c2", "add", '{"invalid_arguments":"{"}'),), reasoning="OK"),
        ChatMessage("tool", "2", tool_call_id="c2"),
        ChatMessage("assistant", ": 2", reasoning="."),
        ChatMessage("user", "Hi"),
    )


def test_texts_around_reasoning_are_one_text_and_separate_messages_are_not() -> None:
    thoughts = {"type": "reasoning", "summary": [], "content": []}
    items = [said("assistant", "Hel"), thoughts, said("assistant", "lo"), said("assistant", "You")]
    assert chat_messages([HI, Turn("2", "assistant", "", items), HI])[1] == ChatMessage("assistant", "Hello\n\nYou")
