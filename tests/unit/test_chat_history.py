"""Histories of any kind in the form of ``chat.history``, beside the rules of the strictest upstreams."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import strict
from worker.providers.base import ChatMessage, Prompt, ToolCall
from worker.providers.chat.history import normal, readable
from worker.providers.chat.request import request_body

TEXTS = st.sampled_from(["", " ", "\n", "Hi", "a b", "é🙂", "…"])
IDS = st.sampled_from(["", " ", "a", "b", "call_0", "a-2"])
ARGUMENTS = st.sampled_from(["", " ", "{}", '{"a": 1}', '{"a": ', "[1]", '"x"', "null", "NaN", '{"a": NaN}', "{}{}"])
NAMES = st.sampled_from(["f", "get time", "functions.f", "", "mcp.tool", "ж", "x" * 90])
OFFERED = frozenset({"f", "g"})
EXTRAS = st.sampled_from([None, {"extra_content": {"google": {"thought_signature": "x"}}}])

CALLS = st.builds(ToolCall, IDS, NAMES, ARGUMENTS, EXTRAS)
MESSAGES = st.one_of(
    st.builds(ChatMessage, st.sampled_from(["system", "developer"]), TEXTS),
    st.builds(lambda text, name: ChatMessage("user", text, name=name), TEXTS, st.sampled_from([None, None, "ann"])),
    st.builds(
        lambda text, calls, thought: ChatMessage("assistant", text, tuple(calls), reasoning=thought),
        TEXTS,
        st.lists(CALLS, max_size=3),
        st.sampled_from(["", "Hm."]),
    ),
    st.builds(lambda text, call_id: ChatMessage("tool", text, tool_call_id=call_id), TEXTS, IDS),
)
HISTORIES = st.lists(MESSAGES, max_size=12)


def sent(messages: tuple[ChatMessage, ...]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = request_body(Prompt("m", messages))["messages"]
    return found


@given(HISTORIES)
def test_the_strictest_upstream_takes_every_history(history: list[ChatMessage]) -> None:
    shown = sent(normal(history, OFFERED))
    if history and history[-1].role == "assistant" and history[-1].content.strip():
        # A client's own text of the assistant at the end is for an upstream that continues it.
        shown += [] if shown[-1]["role"] != "assistant" else [{"role": "user", "content": "x"}]
    strict.check(shown)


@given(HISTORIES)
def test_the_form_of_a_form_is_itself(history: list[ChatMessage]) -> None:
    once = normal(history, OFFERED)
    assert normal(once, OFFERED) == once


@given(HISTORIES, st.lists(st.tuples(TEXTS, IDS, ARGUMENTS), max_size=3))
def test_rounds_of_calls_leave_the_bytes_before_them_as_they_are(
    history: list[ChatMessage], rounds: list[tuple[str, str, str]]
) -> None:
    before = normal([*history, ChatMessage("user", "Hi")], OFFERED)
    grown = list(before)
    for text, call_id, arguments in rounds:
        grown.append(ChatMessage("assistant", text, (ToolCall(call_id, "f", arguments),), reasoning="Hm."))
        grown.append(ChatMessage("tool", "1", tool_call_id=call_id))
    after = normal(grown, OFFERED)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 2 * len(rounds)


@given(HISTORIES)
def test_no_text_and_no_answered_call_is_lost(history: list[ChatMessage]) -> None:
    form = normal(history, OFFERED)
    said = "".join(message.content for message in form)
    for message in history:
        if message.role != "tool" and message.content.strip():
            assert message.content in said
    extras = [call.extra for message in form for call in message.tool_calls]
    calls = {call.call_id for message in history for call in message.tool_calls}
    outputs = {message.tool_call_id for message in history if message.role == "tool"}
    assert len(extras) <= sum(len(message.tool_calls) for message in history)
    assert bool(extras) <= bool(calls & outputs)


@given(HISTORIES)
def test_an_output_stays_with_its_call(history: list[ChatMessage]) -> None:
    """Every output of the form is that of a call with its id, and comes after that call in the history."""
    form = normal(history, OFFERED)
    given = [message.content for message in history if message.role == "tool"]
    for message in form:
        if message.role == "tool":
            assert message.content in given


def test_outputs_that_share_an_id_belong_to_the_newest_call_without_one() -> None:
    call = ToolCall("call_0", "f", "{}")
    history = [
        ChatMessage("user", "1"),
        ChatMessage("assistant", "", (call,)),
        ChatMessage("tool", "first", tool_call_id="call_0"),
        ChatMessage("assistant", "", (call, call)),
        ChatMessage("user", "2"),
        ChatMessage("tool", "second", tool_call_id="call_0"),
        ChatMessage("tool", "third", tool_call_id="call_0"),
        ChatMessage("tool", "nobody's", tool_call_id="call_0"),
    ]
    form = normal(history)
    assert [(m.role, m.content) for m in form] == [
        ("user", "1"),
        ("assistant", ""),
        ("tool", "first"),
        ("assistant", ""),
        ("tool", "second"),
        ("tool", "third"),
        ("assistant", "…"),
        ("user", "2"),
    ]
    assert [m.tool_call_id for m in form if m.role == "tool"] == ["call_0", "call_0-2", "call_0-3"]


def test_a_name_that_the_request_offers_stays_as_it_is() -> None:
    history = [
        ChatMessage("user", "1"),
        ChatMessage("assistant", "", (ToolCall("c", "mcp.tool", ""), ToolCall("d", "other.tool", ""))),
        ChatMessage("tool", "", tool_call_id="c"),
        ChatMessage("tool", "", tool_call_id="d"),
    ]
    assert [call.name for call in normal(history, {"mcp.tool"})[1].tool_calls] == ["mcp.tool", "other_tool"]


def test_arguments_that_are_no_object_are_the_text_of_one() -> None:
    assert readable("") == "{}"
    assert readable(' {"a": 1}') == ' {"a": 1}'
    assert readable('{"city": "Os') == '{"invalid_arguments":"{\\"city\\": \\"Os"}'
    assert readable("[1]") == '{"invalid_arguments":"[1]"}'


def test_reasoning_is_sent_in_each_message_with_calls_once_there_is_any() -> None:
    call, output = ToolCall("a", "f", "{}"), ChatMessage("tool", "1", tool_call_id="a")
    plain = [ChatMessage("user", "1"), ChatMessage("assistant", "", (call,)), output]
    thoughtful = [*plain, ChatMessage("assistant", "", (ToolCall("b", "f", "{}"),), reasoning="Hm.")]
    messages = normal([*thoughtful, ChatMessage("tool", "1", tool_call_id="b")])
    shown = [message.get("reasoning_content") for message in sent(messages) if message["role"] == "assistant"]
    assert shown == ["", "Hm."]
    assert "reasoning_content" not in sent(normal(plain))[1]
    assert "reasoning_content" not in request_body(Prompt("m", messages), reasoning_field="")["messages"][1]
