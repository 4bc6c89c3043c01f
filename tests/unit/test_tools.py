"""Tools: functions with types as schemas, arguments that are checked, time that runs out, and what is replayed."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import suppress
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from app.domain.cursor import Cursor
from app.domain.events import Snapshot, Token, Tool
from app.domain.models import PROVIDERS
from app.domain.tools import BUILT_IN
from app.domain.transcript import Transcript
from app.services.history import with_calls
from worker.providers.base import ChatMessage, Finished, Prompt, ToolCall, ToolDelta
from worker.providers.offline import Offline
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
    assert set(PROVIDERS) == {*Providers().names, "openai"}


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
    assert plan(said(ONE), Offline(), ["error"]) == ("takeover", "")
    assert plan(transcript, Offline(), ["continue"]) == ("continue", "see half a sent")
    assert plan(transcript, Offline(), ["restart", "continue"]) == ("restart", "see ")
    assert plan(transcript, Offline(), ["error"]) == (None, "see half a sent")


def test_a_call_without_a_result_is_told_to_be_uncertain():
    [open_call, other] = settled([Tool("c", "f", "started", "{}"), ONE])
    assert (open_call.state, open_call.result) == ("failed", UNCONFIRMED)
    assert other is ONE


def test_the_next_question_knows_what_was_called_here_and_what_the_client_owes():
    views = said(Token("text"), ONE, Tool("c3", "g", "started", "{}")).tool_views()
    items = with_calls("text", views)
    assert items is not None
    assert [item["type"] for item in items] == ["function_call", "function_call_output", "message", "function_call"]
    assert items[1] == {"type": "function_call_output", "call_id": "c1", "output": "1"}


# --- those that are always there --------------------------------------------------------------------------------------


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
    ],
)
def test_the_calculator_does_nothing_else(expression: str):
    with pytest.raises(ToolError):
        calculator(expression)


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
