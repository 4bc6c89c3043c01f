"""Tools: schemas from types, checks of arguments, time limits, and the replay of results."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from app.domain.call_extra import from_wire, to_wire
from app.domain.cursor import Cursor
from app.domain.events import Reasoning, Snapshot, Token, Tool
from app.domain.models import BUILT_IN_PROVIDERS
from app.domain.tools import BUILT_IN
from app.domain.transcript import Transcript
from app.services.history import with_calls
from worker.calls import Calls
from worker.limits import Limits
from worker.providers.base import AnswerTooLarge, ChatMessage, Finished, Prompt, ToolCall, ToolDelta
from worker.providers.offline.provider import Offline
from worker.providers.registry import Providers
from worker.toolbox import UNCONFIRMED, Toolbox, named, plan, replay, settled
from worker.tools.built_in import calculator, current_time, unit_convert, word_count
from worker.tools.function import LONGEST_RESULT, FunctionTool, ToolError
from worker.tools.registry import find_tools


def greet(
    name: Annotated[str, Field(description="Whom")], often: int = 1, tone: Literal["kind", "gruff"] = "kind"
) -> Any:
    """Say hello."""
    return {"said": f"hello {name} " * often, "tone": tone}


def test_what_both_sides_agree_on_is_what_there_is():
    assert set(BUILT_IN) == set(find_tools())
    assert set(BUILT_IN_PROVIDERS) == set(Providers().names)


def test_annotations_and_docstring_are_the_schema():
    function = FunctionTool("greet", greet).schema["function"]
    assert (function["name"], function["description"]) == ("greet", "Say hello.")
    parameters = function["parameters"]
    assert parameters["required"] == ["name"]
    assert parameters["additionalProperties"] is False
    assert parameters["properties"]["name"] == {"description": "Whom", "title": "Name", "type": "string"}
    assert parameters["properties"]["tone"]["enum"] == ["kind", "gruff"]


def test_results_are_text_or_json_and_never_what_cannot_be_stored():
    tool = FunctionTool("greet", greet)
    assert json.loads(tool.call('{"name": "you"}')) == {"said": "hello you ", "tone": "kind"}
    assert FunctionTool("f", lambda: "a\0b\ud800").call("") == "ab?"
    assert len(FunctionTool("f", lambda: "x" * 10**6).call("{}")) < LONGEST_RESULT + 20


@pytest.mark.parametrize(
    "arguments", ["{", "[]", "{}", '{"name": 1}', '{"name": "a", "other": 1}', '{"name":"a","tone":"x"}']
)
def test_wrong_arguments_are_told_to_the_model(arguments: str):
    with pytest.raises(ToolError, match="arguments are wrong"):
        FunctionTool("greet", greet).call(arguments)


def test_functions_that_cannot_be_described_are_no_tools():
    def untyped(a): ...
    def anything(*values: int): ...

    for function in (untyped, anything):
        with pytest.raises(TypeError):
            FunctionTool("bad", function)


def broken() -> str:
    raise RuntimeError("with a secret")


LET_GO = threading.Event()


def refusing() -> str:
    raise ToolError("Not today.")


@pytest.mark.parametrize(
    ("function", "state", "result"),
    [
        (lambda: "fine", "finished", "fine"),
        (broken, "failed", "The tool failed."),
        (refusing, "failed", "Not today."),
        (lambda: LET_GO.wait(60), "failed", "The tool did not answer within 0.1 seconds."),
    ],
)
def test_whatever_a_tool_does_there_is_a_result_in_time(function: Any, state: str, result: str):
    LET_GO.clear()
    patience = 0.1 if state == "failed" else 30
    toolbox = Toolbox({"f": FunctionTool("f", function)}, seconds=patience)
    began = time.monotonic()
    call = asyncio.new_event_loop().run_until_complete(toolbox.run(Tool("c", "f", "started", "{}")))
    assert time.monotonic() - began < 30
    LET_GO.set()
    assert (call.state, call.result, call.call_id) == (state, result, "c")


def test_a_clients_function_of_the_same_name_is_the_clients():
    toolbox = Toolbox(find_tools())
    theirs = {"tools": [{"type": "function", "function": {"name": "calculator"}}], "temperature": 1}
    ours = toolbox.ours(["calculator", "word_count", "gone"], theirs)
    assert ours == {"word_count"}
    offered = toolbox.offer(ours, theirs)
    assert [tool["function"]["name"] for tool in offered["tools"]] == ["calculator", "word_count"]
    assert offered["temperature"] == 1
    assert toolbox.offer(frozenset(), {"a": 1}) == {"a": 1}


@pytest.mark.parametrize("tools", [None, 7, {}, "tools", [1, {"function": 2}, {"function": {"name": ["a"]}}, {}]])
def test_what_a_client_sends_in_place_of_tools_harms_nobody(tools: Any):
    toolbox = Toolbox(find_tools())
    assert toolbox.ours(["calculator"], {"tools": tools}) == {"calculator"}
    assert toolbox.offer({"calculator"}, {"tools": tools})["tools"][-1]["function"]["name"] == "calculator"
    hear(Prompt("offline", (ChatMessage("user", "calculate 1+1"),), {"tools": tools}))


def test_calls_get_names_of_their_own():
    known = {"a": Tool("a", "f", "finished"), "call_1": Tool("call_1", "f", "finished")}
    calls = named([ToolDelta(0, "a", "f", ""), ToolDelta(1, None, "g", "{}"), ToolDelta(2, "b", None, "")], known)
    assert len({*known, *(call.call_id for call in calls)}) == 5
    assert {call.state for call in calls} == {"started"}


def test_calls_of_one_round_that_share_an_id_are_two_calls():
    calls = named([ToolDelta(0, "same", "f", "{}"), ToolDelta(1, "same", "g", "{}")], {})
    assert [call.tool for call in calls] == ["f", "g"]
    assert len({call.call_id for call in calls}) == 2


def said(*events: Any) -> Transcript:
    transcript = Transcript()
    for n, event in enumerate((Snapshot("", "start", 1), *events)):
        transcript.add(Cursor(1, n), event)
    return transcript


ONE = Tool("c1", "f", "finished", '{"a": 1}', "1")
TWO = Tool("c2", "f", "failed", "{}", "no")


def test_an_answer_is_replayed_with_its_calls_where_they_stood():
    transcript = said(Token("Let me "), Token("see."), ONE, Token(" Well: "), TWO, Token("done"))
    messages, behind = replay(transcript)
    assert behind == "done"
    assert messages == [
        ChatMessage("assistant", "Let me see.", (ToolCall("c1", "f", '{"a": 1}'),)),
        ChatMessage("tool", "1", tool_call_id="c1"),
        ChatMessage("assistant", " Well: ", (ToolCall("c2", "f", "{}"),)),
        ChatMessage("tool", "no", tool_call_id="c2"),
    ]
    transcript.add(Cursor(2, 0), Snapshot(transcript.text, "continue", 2))
    assert replay(transcript) == (messages, "done")
    assert replay(said(Token("text"))) == ([], "text")


def test_what_was_called_stays_called_whatever_the_policy_says():
    transcript = said(Token("see "), ONE, Token("half a sent"))
    assert plan(said(ONE), Offline(), ["error"]) == ("takeover", ("", ""))
    assert plan(transcript, Offline(), ["continue"]) == ("continue", ("see half a sent", ""))
    assert plan(transcript, Offline(), ["restart", "continue"]) == ("restart", ("see ", ""))
    assert plan(transcript, Offline(), ["error"]) == (None, ("see half a sent", ""))


def test_a_call_that_is_repeated_does_not_add_its_reasoning_to_the_interrupted_one():
    transcript = said(Reasoning("Hm."), Token("see "), ONE, Reasoning("So "))
    for choices in (["continue", "restart"], ["restart"]):
        assert plan(transcript, Offline(), choices) == ("restart", ("see ", "Hm."))
    for choices in (["continue"], ["continue", "error"], ["error"]):
        assert plan(transcript, Offline(), choices) == (None, ("see ", "Hm.So "))


def test_a_call_without_a_result_is_told_to_be_uncertain():
    [open_call, other] = settled([Tool("c", "f", "started", "{}"), ONE])
    assert (open_call.state, open_call.result) == ("failed", UNCONFIRMED)
    assert other is ONE


def test_the_next_question_knows_what_was_called_here_and_what_the_client_owes():
    views = said(ONE, Token("text"), Tool("c3", "g", "started", "{}")).tool_views()
    items = with_calls("text", views)
    assert items is not None
    assert [item["type"] for item in items] == ["function_call", "function_call_output", "message", "function_call"]
    assert items[1] == {"type": "function_call_output", "call_id": "c1", "output": "1"}


# --- built-in tools ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("12*7", "84"),
        ("(1 + 2) ** 3 // 4", "6"),
        ("2^10", "1024"),
        ("1/3", "0.333333333333333"),
        ("-7 % 3", "2"),
        ("6 × 7", "42"),
    ],
)
def test_the_calculator_calculates(expression: str, result: str):
    assert calculator(expression) == result


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "__import__('os')",
        "a+1",
        "1/0",
        "9**9**9",
        "9**999**2",
        "'a'*3",
        "(-8)**0.5",
        "1 if 1 else 2",
        "(" * 400,
        "True+1",
        "1e999",
        "None",
        "1j*1j",
        "1 < 2",
        "1 and 2",
        "[1][0]",
        "(1).real",
        "().__class__.__bases__[0].__subclasses__()",
        "f'{1:>999999999}'",
        "'%0999999999d' % 1",
        "'a' + 'b'",
        "b'a' * 9",
        "rand()",
        "int('1')",
        "(lambda: 1)()",
        "[x for x in (1, 2)]",
        "x := 1",
        "x = 1",
        "1; 2",
        "1\n2",
        "1 << 9999",
        "9 ** -9 ** 9",
        "99999999999 ** 999",
        "10 ** 200 * 10 ** 200",
        "1.0 ** 1e9",
        "(-1) ** 0.5 * (-1) ** 0.5",
        "-" * 490 + "1 if 1 else 2",
        "1 @ 2",
        "~1",
        "not 1",
        "...",
    ],
)
def test_the_calculator_does_nothing_else(expression: str):
    with pytest.raises(ToolError):
        calculator(expression)


def test_the_longest_expression_of_the_largest_powers_is_evaluated_in_bounded_memory():
    expression = "+".join(["9**300"] * 70)
    assert len(expression) < 500
    assert calculator(expression) == str(70 * 9**300)
    with pytest.raises(ToolError, match="too large"):
        calculator("*".join(["9**300"] * 70))


@given(st.text("0123456789.+-*/%()e_ ", max_size=60).filter(lambda text: "**" not in text))
def test_numbers_and_operators_have_the_value_they_have_in_python(expression: str):
    try:
        expected = eval(compile(expression.strip(), "", "eval"), {"__builtins__": {}})
    except Exception:
        expected = None
    with suppress(ToolError):
        value = calculator(expression)
        assert value == (f"{expected:.15g}" if isinstance(expected, float) else str(expected))


@given(st.text(max_size=40))
def test_the_calculator_answers_or_refuses_whatever_it_is_asked(expression: str):
    with suppress(ToolError):
        assert isinstance(calculator(expression), str)


def test_the_other_tools():
    assert unit_convert(100, "C", "F") == "212"
    assert unit_convert(1, "mi", "km") == "1.609344"
    assert word_count("one two\nthree") == {"words": 3, "characters": 13, "lines": 2}
    assert current_time("Europe/Rome")[10] == "T"
    for refused in (
        lambda: unit_convert(1, "kg", "m"),
        lambda: current_time("Nowhere/Land"),
        lambda: current_time("../etc"),
    ):
        with pytest.raises(ToolError):
            refused()


def hear(prompt: Prompt) -> list[Any]:
    async def listen() -> list[Any]:
        heard: list[Any] = []
        await Offline(rate=None).stream(prompt, heard.extend)
        return heard

    return asyncio.new_event_loop().run_until_complete(listen())


def test_the_built_in_model_calls_what_it_is_asked_to_call_and_tells_the_result():
    tools = {"tools": [tool.schema for tool in find_tools().values()]}
    question = ChatMessage("user", "Please calculate 12*7.")
    [call, finished] = hear(Prompt("offline", (question,), tools))
    assert (call.name, json.loads(call.arguments)) == ("calculator", {"expression": "12*7"})
    assert finished.finish_reason == "tool_calls"
    answered = ChatMessage("assistant", "", (ToolCall(call.call_id, call.name, call.arguments),))
    result = ChatMessage("tool", "84", tool_call_id=call.call_id)
    text = "".join(piece.text for piece in hear(Prompt("offline", (question, answered, result), tools))[:-1])
    assert text.startswith("**calculator** says: `84`")
    assert not isinstance(hear(Prompt("offline", (question,), {}))[0], (ToolDelta, Finished))


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("What time is it in Europe/Rome?", "current_time"),
        ("convert 5 km to mi", "unit_convert"),
        ("Count the words in: a b c", "word_count"),
        ("What is 2 + 2?", "calculator"),
        ("What is love?", None),
        ("Calculate my chances", None),
    ],
)
def test_only_what_is_asked_in_so_many_words_is_called(question: str, name: str | None):
    tools = {"tools": [tool.schema for tool in find_tools().values()]}
    calls = [p for p in hear(Prompt("offline", (ChatMessage("user", question),), tools)) if isinstance(p, ToolDelta)]
    assert [call.name for call in calls] == ([name] if name else [])
    for call in calls:
        find_tools()[call.name].call(call.arguments)


# --- extras and places of calls ---------------------------------------------------------------------------------------


def test_an_extra_stays_with_its_call_and_a_restart_keeps_the_places():
    extra = {"extra_content": {"google": {"thought_signature": "x"}}}
    begun = Tool("c1", "f", "started", "{}", extra=extra)
    other = Tool("c2", "f", "started", "{}")
    ended = [replace(call, state="finished", result="1", extra=None) for call in (begun, other)]
    transcript = said(Reasoning("Hm."), begun, ended[0], Reasoning("OK."), other, ended[1], Token("half"))
    before, _ = replay(transcript)
    assert [(m.reasoning, m.tool_calls[0].extra) for m in before if m.tool_calls] == [("Hm.", extra), ("OK.", None)]
    reason, kept = plan(transcript, Offline(), ["restart"])
    transcript.add(Cursor(2, 0), Snapshot(kept.text, reason or "restart", 2, kept.reasoning))
    for n, call in enumerate([replace(ended[0], extra=extra), ended[1]], 1):
        transcript.add(Cursor(2, n), call)
    assert replay(transcript) == (before, "")


def test_an_extra_counts_as_arguments_and_one_that_no_store_takes_is_left_out():
    calls = Calls(Limits(tool_argument_chars=20))
    calls.add(ToolDelta(0, "a", "f", "{", {"extra_content": "\0"}))
    calls.add(ToolDelta(0, None, None, "}", {"gemini": 1}))
    assert calls.whole() == [ToolDelta(0, "a", "f", "{}", {"gemini": 1})]
    with pytest.raises(AnswerTooLarge, match="MAX_TOOL_ARGUMENT_CHARS"):
        calls.add(ToolDelta(0, None, None, "", {"extra_content": "x" * 20}))


@given(st.recursive(st.none() | st.booleans() | st.text(max_size=3), lambda v: st.dictionaries(st.text(max_size=3), v)))
def test_what_a_client_sends_back_is_what_it_was_given(value: Any):
    extra = {"extra_content": {"google": value}, "anthropic": {"thinking": [value]}}
    assert from_wire(to_wire(extra)) == extra
    assert from_wire(to_wire({"gemini": value})) == {"gemini": value}
    assert to_wire({"extra_content": value}) == value
