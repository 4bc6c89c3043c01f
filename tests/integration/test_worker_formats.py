"""A real worker verifies the form of JSON answers: a wrong one is requested once more, and never completes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.answer_format import INVALID_FORMAT
from app.domain.events import Snapshot, Token, decode
from app.domain.transcript import Transcript
from app.store.generations import Generation
from dev.valkey import Valkey
from tests.actors import claim
from tests.factories import insert, owner
from tests.fakes.upstream import Call, FakeUpstream
from tests.stack import Stack, Worker

NUMBERS = iter(range(10**6))
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer", "minimum": 1}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
CITY = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, "strict": True}}
OBJECT = {"type": "json_object"}
OSLO = '{"city": "Oslo", "people": 700000}'


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey, upstream: FakeUpstream
) -> Iterator[Stack]:
    with owner(module_database_url) as cursor:
        parameters = json.dumps({"response_format": OBJECT})
        models: list[dict[str, Any]] = [
            {"name": "able", "tools": ["calculator"]},
            {"name": "json", "parameters": parameters},
            {"name": "stubborn", "on_interruption": ["error"]},
        ]
        for model in models:
            insert(cursor, "models", {"provider": "openai", "upstream_name": "fake", **model})
    directory: Path = tmp_path_factory.mktemp("formats")
    stack = Stack(directory, module_database_url, valkey.url(), OPENAI_BASE_URL=upstream.base_url)
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def worker(stack: Stack) -> Worker:
    return stack.worker(20)


def ask(stack: Stack, text: str, wanted: dict[str, Any] | None = CITY, model: str = "fake", **behaviour: Any) -> str:
    """Start an answer that must have a form. Returns the generation's id."""
    said = json.dumps({"fake": {"key": next(NUMBERS), "text": text, "rate": 0, **behaviour}})
    parameters = {} if wanted is None else {"response_format": wanted}
    return stack.start(said, model=model, parameters=parameters).generation.id


def calls_of(stack: Stack, upstream: FakeUpstream, row: Generation) -> list[Call]:
    asked = stack.resources.conversations.messages(stack.user, row.conversation_id, 0, 1).items[0].content
    return [call for call in upstream.calls if any(m.get("content") == asked for m in call.body["messages"])]


def snapshots(stack: Stack, row: Generation) -> list[tuple[str, str]]:
    events = [decode(entry.payload) for entry in stack.read(row.id)]
    return [(event.reason, event.text) for event in events if isinstance(event, Snapshot)]


@pytest.mark.usefixtures("worker")
def test_a_valid_answer_completes_with_one_call_that_names_the_form(stack: Stack, upstream: FakeUpstream) -> None:
    row = stack.finished(ask(stack, OSLO))
    assert (row.status, row.error, stack.transcript(row.id).text) == ("completed", None, OSLO)
    [call] = calls_of(stack, upstream, row)
    assert call.body["response_format"] == CITY


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Oslo has 700000 people.", "it is not JSON (line 1, column 1)"),
        (f"```json\n{OSLO}\n```", "it is not JSON"),
        (OSLO + OSLO, "it is not JSON"),
        (OSLO[:-1], "it is not JSON"),
        ("", "it is not JSON"),
        ('{"city": "Oslo", "people": 0}', "the rule minimum of its JSON Schema at /people"),
        ('{"city": "Oslo"}', "the rule required of its JSON Schema at /people"),
        ("[]", "the rule type of its JSON Schema at the top"),
    ],
)
def test_a_wrong_answer_is_requested_once_more_with_the_error(
    stack: Stack, upstream: FakeUpstream, text: str, why: str
) -> None:
    row = stack.finished(ask(stack, text, corrected=OSLO))
    first, second = calls_of(stack, upstream, row)
    assert (row.status, row.finish_reason, stack.transcript(row.id).text) == ("completed", "stop", OSLO)
    assert snapshots(stack, row) == [("start", ""), ("restart", "")]
    assert [attempt["outcome"] for attempt in row.attempts] == [INVALID_FORMAT, "finished"]
    assert why in row.attempts[0]["detail"]
    assert [message["role"] for message in second.body["messages"][-2:]] == ["assistant", "user"]
    assert second.body["messages"][-2]["content"] == text or not text
    assert why in second.body["messages"][-1]["content"]
    assert json.dumps(SCHEMA, separators=(",", ":")) in second.body["messages"][-1]["content"]
    # Both attempts are paid.
    assert row.usage is not None
    tokens = [attempt["usage"]["output_tokens"] for attempt in row.attempts]
    assert row.usage["output_tokens"] == sum(tokens)
    assert len(first.body["messages"]) + 2 == len(second.body["messages"])


@pytest.mark.usefixtures("worker")
def test_the_second_wrong_answer_is_an_error(stack: Stack, upstream: FakeUpstream) -> None:
    row = stack.finished(ask(stack, "no", corrected='{"city": 7, "people": 1}'))
    assert row.status == "error"
    assert row.error == {
        "code": INVALID_FORMAT,
        "message": "The answer does not have the form that was requested: it violates the rule type of its JSON "
        "Schema at /city.",
    }
    assert [attempt["outcome"] for attempt in row.attempts] == [INVALID_FORMAT] * 2
    assert len(calls_of(stack, upstream, row)) == 2


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(("text", "completes"), [('{"a": 1}', True), ("[1]", False), ("3", False)])
def test_any_object_is_an_answer_of_type_json_object(
    stack: Stack, upstream: FakeUpstream, text: str, completes: bool
) -> None:
    for wanted, model in ((OBJECT, "fake"), (None, "json")):
        row = stack.finished(ask(stack, text, wanted, model))
        assert row.status == ("completed" if completes else "error")
        assert calls_of(stack, upstream, row)[0].body["response_format"] == OBJECT


@pytest.mark.usefixtures("worker")
def test_the_form_of_a_request_wins_over_that_of_its_model(stack: Stack, upstream: FakeUpstream) -> None:
    row = stack.finished(ask(stack, "Hello", {"type": "text"}, "json"))
    assert (row.status, stack.transcript(row.id).text) == ("completed", "Hello")
    assert "response_format" not in calls_of(stack, upstream, row)[0].body


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_text_that_was_cut_short_is_kept_as_it_is(stack: Stack, upstream: FakeUpstream, finish: str) -> None:
    row = stack.finished(ask(stack, OSLO[:9], finish=finish))
    assert (row.status, row.finish_reason) == ("completed", finish)
    assert stack.transcript(row.id).text == OSLO[:9]
    assert len(calls_of(stack, upstream, row)) == 1


@pytest.mark.usefixtures("worker")
def test_a_refusal_is_no_json_and_ends_as_a_refusal(stack: Stack, upstream: FakeUpstream) -> None:
    row = stack.finished(ask(stack, "I cannot help with that.", refuse=True))
    said = stack.transcript(row.id)
    assert (row.status, said.text, said.refused) == ("completed", "I cannot help with that.", True)
    assert len(calls_of(stack, upstream, row)) == 1


@pytest.mark.usefixtures("worker")
def test_calls_of_the_clients_tools_are_no_answer_yet(stack: Stack, upstream: FakeUpstream) -> None:
    row = stack.finished(ask(stack, "", tool_call={"name": "theirs", "arguments": {}}))
    assert row.status == "completed"
    assert len(calls_of(stack, upstream, row)) == 1


@pytest.mark.usefixtures("worker")
def test_a_restart_keeps_the_results_of_tools_and_drops_the_text_before_them(
    stack: Stack, upstream: FakeUpstream
) -> None:
    call = {"name": "calculator", "arguments": {"expression": "6*7"}}
    row = stack.finished(ask(stack, "I compute. ", model="able", corrected=OSLO, tool_call=call, tool_rounds=1))
    calls = calls_of(stack, upstream, row)
    assert (row.status, row.error, stack.transcript(row.id).text) == ("completed", None, OSLO)
    assert snapshots(stack, row) == [("start", ""), ("restart", "")]
    assert [tool["result"] for tool in stack.transcript(row.id).tool_views()] == ["42"]
    assert [sum(m["role"] == "tool" for m in call.body["messages"]) for call in calls] == [0, 1, 1]


@pytest.mark.parametrize("continuation", ["instruction", "prefill"])
def test_no_takeover_glues_two_texts_together(
    tmp_path: Path, database_url: str, valkey: Valkey, continuation: str
) -> None:
    """A worker is lost behind each event of an answer in turn, and another one goes on."""
    with FakeUpstream() as upstream, owner(database_url) as cursor:
        insert(
            cursor,
            "models",
            {"name": "once", "provider": "openai", "upstream_name": "fake", "on_interruption": ["continue", "error"]},
        )
        insert(
            cursor,
            "models",
            {"name": "never", "provider": "openai", "upstream_name": "fake", "on_interruption": ["error"]},
        )
        cursor.connection.commit()
        url = upstream.base_url
        stack = Stack(tmp_path, database_url, valkey.url(), OPENAI_BASE_URL=url, OPENAI_CONTINUATION=continuation)
        pieces = [OSLO[n : n + 6] for n in range(0, len(OSLO), 6)]
        lost = {
            (model, count): interrupted(stack, pieces[:count], model)
            for model in ("once", "never")
            for count in range(len(pieces) + 1)
        }
        try:
            stack.worker(20)
            ended = {case: stack.finished(generation_id) for case, generation_id in lost.items()}
            for (model, count), row in ended.items():
                text = Transcript.of(stack.read(row.id)).text
                expected = "error" if model == "never" and count else "completed"
                assert (row.status, text) == (expected, OSLO if expected == "completed" else "".join(pieces[:count]))
                reasons = [reason for reason, _ in snapshots(stack, row)]
                again = "continue" if continuation == "prefill" else "restart"
                assert reasons[1:] == ["takeover" if model == "never" or not count else again]
        finally:
            stack.stop()


def interrupted(stack: Stack, said: list[str], model: str) -> str:
    """A JSON answer whose worker was lost behind these pieces. Returns the generation's id."""
    wish = json.dumps({"fake": {"key": next(NUMBERS), "text": OSLO, "rate": 0, "continue": "exact"}})
    started = stack.start(wish, model=model, parameters={"response_format": CITY})
    hand = claim(stack.resources, started.generation.id)
    hand.say(Snapshot("", "start", 1), *map(Token, said)).publish()
    hand.release()
    return started.generation.id
