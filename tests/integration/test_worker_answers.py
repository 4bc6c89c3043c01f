"""A real worker process, a real upstream over HTTP: answers arrive whole, late or broken, or are cancelled."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

from app.domain.commands import ContinueAnswer
from app.domain.cursor import Cursor
from app.domain.events import Done, Entry, Mark, Reasoning, Snapshot, Token, Tool, decode, encode
from app.domain.transcript import Transcript
from app.store.generations import Generation
from dev.valkey import Valkey
from tests.factories import insert, owner
from tests.fakes.upstream import TOKEN, Call, FakeUpstream, call_text
from tests.stack import Stack, Worker, until
from worker.retry_policy import LONGEST_PAUSE

FIRST_TOKEN_TIMEOUT = 8
TOKEN_TIMEOUT = 4
GENERATION_TIMEOUT = 20
MODELS = {"continuing": ["continue"], "restarting": ["restart"], "failing": ["error"]}


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey, upstream: FakeUpstream
) -> Iterator[Stack]:
    with owner(module_database_url) as cursor:
        for name, policy in MODELS.items():
            values = {"name": name, "provider": "openai", "upstream_name": "fake", "on_interruption": policy}
            insert(cursor, "models", values)
        target = {"upstream": "openai", "name": "fake", "parameters": {}, "continuation": "none"}
        values = {"name": "plain", "provider": "openai", "upstream_name": "fake", "on_interruption": ["error"]}
        insert(cursor, "models", {**values, "targets": json.dumps([target])})
    stack = Stack(
        tmp_path_factory.mktemp("answers"),
        module_database_url,
        valkey.url(),
        OPENAI_BASE_URL=upstream.base_url,
        FIRST_TOKEN_TIMEOUT=FIRST_TOKEN_TIMEOUT,
        TOKEN_TIMEOUT=TOKEN_TIMEOUT,
        GENERATION_TIMEOUT=GENERATION_TIMEOUT,
        MAX_ATTEMPTS=3,
        # No takeover happens here, even on a busy machine.
        LEASE_SECONDS=60,
    )
    yield stack
    stack.stop()


@pytest.fixture(scope="module", autouse=True)
def worker(stack: Stack) -> Worker:
    return stack.worker(50)


_number = iter(range(10**6))


def ask(stack: Stack, model: str = "fake", **behaviour: Any) -> str:
    """Start a generation whose upstream behaves as given. Returns its id."""
    said = json.dumps({"fake": {"key": next(_number), **behaviour}})
    return stack.start(said, model=model).generation.id


def calls_of(stack: Stack, upstream: FakeUpstream, generation_id: str) -> list[Call]:
    """The calls that the upstream received for a generation."""
    asked = stack.resources.conversations.messages(
        stack.user, stack.generation(generation_id).conversation_id, 0, 1
    ).items[0]
    return [call for call in upstream.calls if any(m.get("content") == asked.content for m in call.body["messages"])]


def not_appended(logged: list[Entry], entries: list[Entry]) -> list[Entry]:
    """The last events of revisions that a takeover ended between their checkpoint and their append.

    PostgreSQL has them and the log refuses them. Fails unless the snapshot of the takeover has their text.
    """
    tops = {entry.cursor.epoch: entry.cursor.n for entry in logged}
    refused = [e for e in entries[:-1] if e.cursor.n > tops.get(e.cursor.epoch, -1)]
    for entry in refused:
        end = next(n for n, e in enumerate(entries) if e.cursor.epoch > entry.cursor.epoch)
        snapshot = decode(entries[end].payload)
        assert isinstance(snapshot, Snapshot)
        assert snapshot.reason in ("cancel", "takeover", "continue")
        assert snapshot.text == Transcript.of(entries[:end]).text
    return refused


@pytest.mark.parametrize(("text", "is_known"), [("ab", True), ("a", False)])
def test_an_event_that_the_log_refused_has_to_be_in_the_next_snapshot(text: str, is_known: bool) -> None:
    events = [Snapshot("", "start", 1), Token("a"), Token("b")]
    entries = [Entry(Cursor(1, n), encode(event)) for n, event in enumerate(events)]
    entries.append(Entry(Cursor(2, 0), encode(Snapshot(text, "cancel", 1))))
    logged = [*entries[:2], entries[3]]
    if is_known:
        assert not_appended(logged, entries) == [entries[2]]
    else:
        with pytest.raises(AssertionError):
            not_appended(logged, entries)


def check(stack: Stack, row: Generation) -> Transcript:
    """Assert that log, archive, row and message agree, byte for byte. Returns the transcript."""
    entries = stack.read(row.id)
    assert entries == stack.archive(row.id)
    logged = until(lambda: (found := stack.log(row.id)) and isinstance(decode(found[-1].payload), Done) and found)
    refused = not_appended(logged, entries)
    assert logged == [entry for entry in entries if entry not in refused]
    folded = Transcript.of(entries)
    message = stack.resources.conversations.messages(stack.user, row.conversation_id, 1, 1).items[0]
    assert message.content == folded.text
    assert folded.done is not None
    assert folded.done.sha256 == row.sha256 == sha256(message.content.encode()).hexdigest()
    assert folded.done.status == row.status == message.status
    assert row.final == entries[-1].cursor
    return folded


def reasons(stack: Stack, row: Generation) -> list[str]:
    events = [decode(entry.payload) for entry in stack.read(row.id)]
    return [event.reason for event in events if isinstance(event, Snapshot)]


def outcomes(row: Generation) -> list[str]:
    return [attempt["outcome"] for attempt in row.attempts]


def indices(text: str) -> list[int]:
    return [int(index) for _, index in TOKEN.findall(text)]


# --- whole ----------------------------------------------------------------------------------------------------------


def test_eighty_tokens_at_sixty_a_second_are_the_same_everywhere(stack: Stack, upstream: FakeUpstream) -> None:
    began = time.monotonic()
    row = stack.finished(ask(stack, tokens=80, rate=60))
    assert time.monotonic() - began > 1.2
    said = check(stack, row)
    [call] = calls_of(stack, upstream, row.id)
    assert said.text == call.text == call_text(call.number, 0, 80)
    assert (row.status, row.finish_reason, row.tries, row.epoch) == ("completed", "stop", 1, 1)
    assert reasons(stack, row) == ["start"]
    events = [decode(entry.payload) for entry in stack.read(row.id)]
    assert [type(event) for event in events[-2:]] == [Mark, Done]
    # Several tokens. Their number depends on the CPU time that the worker gets.
    assert sum(isinstance(event, Token) for event in events) > 5
    assert row.usage is not None
    assert row.usage["output_tokens"] == 80
    assert row.first_token_at is not None
    assert row.started_at is not None
    assert row.finished_at is not None
    assert row.created_at <= row.started_at <= row.first_token_at <= row.finished_at


def test_reasoning_and_tool_calls_are_kept_beside_the_text(stack: Stack) -> None:
    tool = {"name": "clock", "arguments": {"zone": "UTC"}, "id": "call_7"}
    row = stack.finished(ask(stack, tokens=5, rate=0, reasoning=3, tool_call=tool, finish="tool_calls"))
    said = check(stack, row)
    events = [decode(entry.payload) for entry in stack.read(row.id)]
    assert any(isinstance(event, Reasoning) for event in events)
    assert [event for event in events if isinstance(event, Tool)] == [
        Tool("call_7", "clock", "started", json.dumps({"zone": "UTC"}))
    ]
    message = stack.resources.conversations.messages(stack.user, row.conversation_id, 1, 1).items[0]
    assert message.reasoning == said.reasoning != ""
    assert [call["tool"] for call in message.tools] == ["clock"]
    assert row.finish_reason == "tool_calls"


def test_bytes_that_break_careless_code_arrive_as_text_everybody_can_store(stack: Stack) -> None:
    row = stack.finished(
        ask(stack, tokens=60, rate=0, batch=3, nul_at=3, surrogate_at=12, bad_utf8_at=20, split_pair_at=30,
            split_utf8=True, crlf=True, keepalive=True)
    )  # fmt: skip
    assert row.status == "completed", row.error
    said = check(stack, row)
    assert "\x00" not in said.text
    assert not re.search("[\ud800-\udfff]", said.text)
    assert "🙂" in said.text
    assert indices(said.text) == list(range(60))


def test_an_answer_that_ends_for_a_reason_nobody_can_store_has_ended(stack: Stack) -> None:
    row = stack.finished(ask(stack, tokens=5, rate=0, finish="st\0op"))
    check(stack, row)
    assert (row.status, row.finish_reason, row.tries) == ("completed", "st\ufffdop", 1)


def test_an_answer_as_fast_as_the_socket_takes_it_is_whole(stack: Stack, upstream: FakeUpstream) -> None:
    row = stack.finished(ask(stack, tokens=20_000, rate=0, batch=50))
    [call] = calls_of(stack, upstream, row.id)
    assert check(stack, row).text == call.text


def test_an_answer_without_a_word_is_an_answer(stack: Stack) -> None:
    row = stack.finished(ask(stack, tokens=0))
    assert (row.status, check(stack, row).text) == ("completed", "")


# --- late ------------------------------------------------------------------------------------------------------------


def test_a_provider_that_does_not_begin_is_asked_again(stack: Stack, upstream: FakeUpstream) -> None:
    row = stack.finished(ask(stack, tokens=5, rate=0, first_delay=60, once=True))
    assert (row.status, outcomes(row)) == ("completed", ["first_token_timeout", "finished"])
    first, second = calls_of(stack, upstream, row.id)
    until(lambda: first.end)
    assert first.end == "client_disconnected"
    assert TOKEN_TIMEOUT < first.ended - first.started < 60  # type: ignore[operator]
    assert check(stack, row).text == second.text


def test_a_provider_that_falls_silent_in_the_middle_is_left_and_the_answer_continued(
    stack: Stack, upstream: FakeUpstream
) -> None:
    row = stack.finished(ask(stack, tokens=60, rate=100, stall_after=25, once=True))
    assert (row.status, outcomes(row)) == ("completed", ["token_timeout", "finished"])
    assert reasons(stack, row) == ["start", "continue"]
    first, _ = calls_of(stack, upstream, row.id)
    until(lambda: first.end)
    assert first.end == "client_disconnected"
    assert indices(check(stack, row).text) == list(range(60))


def test_an_answer_that_takes_too_long_ends_with_what_it_said(stack: Stack, upstream: FakeUpstream) -> None:
    """Two tests in one wait. An endless answer is stopped. An answer that is cut once has all its time."""
    endless = ask(stack, tokens=10_000, rate=20)
    # Cut after more than half of its time: time that counted twice would exceed the limit.
    enough = ask(stack, tokens=270, rate=20, cut_after=230, once=True)
    row = stack.finished(enough)
    assert (row.status, outcomes(row)) == ("completed", ["upstream_connection", "finished"])
    assert indices(check(stack, row).text) == list(range(270))
    row = stack.finished(endless)
    assert row.status == "error"
    assert row.error is not None
    assert row.error["code"] == "generation_timeout"
    assert len(check(stack, row).text) > 200
    [call] = calls_of(stack, upstream, endless)
    until(lambda: call.end == "client_disconnected")
    assert call.ended - call.started < GENERATION_TIMEOUT + 60  # type: ignore[operator]


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        ({"status": 429, "retry_after": 0.2}, "upstream_rate_limited"),
        ({"status": 500}, "upstream_unavailable"),
        ({"status": 503, "html": True}, "upstream_unavailable"),
        ({"cut_after": 0}, "upstream_connection"),
        ({"error_after": 0, "error_code": "oops"}, "upstream_error"),
        ({"no_finish": True, "tokens": 0}, "upstream_truncated"),
    ],
    ids=str,
)
def test_a_failure_before_the_first_token_is_never_seen(
    stack: Stack, upstream: FakeUpstream, behaviour: dict[str, Any], outcome: str
) -> None:
    row = stack.finished(ask(stack, **{"tokens": 5, "rate": 0, **behaviour, "once": True}))
    assert row.status == "completed", row.error
    assert outcomes(row) == [outcome, "finished"]
    assert reasons(stack, row) == ["start"]
    assert check(stack, row).text == calls_of(stack, upstream, row.id)[-1].text
    assert row.attempts[0]["visible"] is False


def test_a_refusal_that_will_not_change_is_final(stack: Stack, upstream: FakeUpstream) -> None:
    row = stack.finished(ask(stack, status=400, error_message="No such parameter."))
    assert row.status == "error"
    assert row.error is not None
    assert row.error["code"] == "upstream_rejected"
    assert len(calls_of(stack, upstream, row.id)) == 1
    check(stack, row)


def test_attempts_are_counted_and_end(stack: Stack, upstream: FakeUpstream) -> None:
    row = stack.finished(ask(stack, status=429, retry_after=0.05))
    assert row.status == "error"
    assert row.error is not None
    assert row.error["code"] == "upstream_rate_limited"
    assert len(calls_of(stack, upstream, row.id)) == len(row.attempts) == 3


# --- cut -------------------------------------------------------------------------------------------------------------

# Bytes that the worker has not read are lost when the connection is reset. The upstream lingers for longer than a busy
# machine keeps the worker from them.
CUT = {"tokens": 60, "rate": 200, "cut_after": 40, "linger": 2.5, "once": True}


def test_a_cut_answer_is_continued_from_its_last_character(stack: Stack, upstream: FakeUpstream) -> None:
    row = stack.finished(ask(stack, "continuing", **CUT))
    assert (row.status, outcomes(row)) == ("completed", ["upstream_connection", "finished"])
    assert reasons(stack, row) == ["start", "continue"]
    said = check(stack, row)
    first, second = calls_of(stack, upstream, row.id)
    shown = next(decode(e.payload) for e in stack.read(row.id) if e.cursor.epoch == 2)
    assert isinstance(shown, Snapshot)
    assert call_text(first.number, 0, 40).startswith(shown.text)
    assert second.prefix_chars == len(shown.text)
    assert said.text.startswith(shown.text)
    assert indices(said.text) == list(range(60))


def test_a_cut_answer_is_begun_anew_and_says_so(stack: Stack, upstream: FakeUpstream) -> None:
    row = stack.finished(ask(stack, "restarting", **CUT))
    assert (row.status, outcomes(row)) == ("completed", ["upstream_connection", "finished"])
    assert reasons(stack, row) == ["start", "restart"]
    _, second = calls_of(stack, upstream, row.id)
    assert check(stack, row).text == second.text == call_text(second.number, 0, 60)
    assert second.prefix_chars == 0


def test_a_cut_answer_stays_as_it_is_where_that_is_wanted(stack: Stack, upstream: FakeUpstream) -> None:
    row = stack.finished(ask(stack, "failing", **CUT))
    assert row.status == "error"
    assert row.error is not None
    assert outcomes(row) == ["upstream_connection"]
    [call] = calls_of(stack, upstream, row.id)
    text = check(stack, row).text
    assert indices(text) == list(range(len(indices(text))))
    assert call_text(call.number, 0, 40).startswith(text)
    assert len(indices(text)) > 30


def longer(stack: Stack, row: Generation) -> Generation:
    """The generation that continues an ended one, at its end."""
    begun = stack.resources.starter.start(stack.user, ContinueAnswer(row.message_id))
    return stack.finished(begun.generation.id)


# The target of the model "plain" cannot continue a text: it receives the text as a message.
@pytest.mark.parametrize("model", ["failing", "plain"])
def test_an_answer_that_was_cut_is_continued_on_request_in_a_version_of_its_own(
    stack: Stack, upstream: FakeUpstream, model: str
) -> None:
    cut = stack.finished(ask(stack, model, **CUT))
    row = longer(stack, cut)
    kept, said = stack.resources.conversations.messages(stack.user, cut.conversation_id, 1, 2).items
    assert (kept.status, said.status, said.parent_id) == ("error", "completed", kept.parent_id)
    [opening] = [event for entry in stack.read(row.id) if isinstance(event := decode(entry.payload), Snapshot)]
    assert (opening.reason, opening.text) == ("start", kept.content)
    _, second = calls_of(stack, upstream, row.id)
    assert second.prefix_chars == len(kept.content)
    assert indices(said.content) == list(range(60))
    # No upstream receives the parameter of ours.
    assert not any("continues" in name for name in second.body)


def test_an_answer_that_continues_another_one_is_continued_itself(stack: Stack, upstream: FakeUpstream) -> None:
    """Its first call breaks off: a restart goes back to the text that it began with, and no further."""
    cut = stack.finished(ask(stack, "restarting", tokens=60, rate=200, cut_after=15, linger=1.0, times=4))
    assert cut.status == "error"
    row = longer(stack, cut)
    kept, said = stack.resources.conversations.messages(stack.user, cut.conversation_id, 1, 2).items
    assert row.status == "completed", row.error
    openings = [event for entry in stack.read(row.id) if isinstance(event := decode(entry.payload), Snapshot)]
    assert [(each.reason, each.text) for each in openings] == [("start", kept.content), ("restart", kept.content)]
    assert said.content.startswith(kept.content)
    assert indices(said.content) == list(range(60))


def test_a_pause_before_the_next_attempt_is_told(stack: Stack) -> None:
    # It is too long to be missed; the cancel ends it.
    generation = ask(stack, status=429, retry_after=LONGEST_PAUSE)

    def paused() -> Any:
        waiting = stack.resources.generations.get(stack.user, generation).waiting
        return waiting if waiting and waiting.reason == "retry" else None

    told = until(paused, what="the pause")
    assert (told.error, told.attempt) == ("upstream_rate_limited", 2)
    stack.resources.generations.cancel(stack.user, generation)
    assert stack.finished(generation).status == "cancelled"
    assert stack.resources.generations.get(stack.user, generation).waiting is None


def test_usage_of_every_attempt_is_kept_and_added_up(stack: Stack) -> None:
    row = stack.finished(ask(stack, "restarting", **CUT))
    lost, finished = row.attempts
    assert lost["visible"] is True
    assert lost["usage"]["estimated"] is True
    assert lost["usage"]["output_tokens"] > 40
    assert finished["usage"]["output_tokens"] == 60
    assert row.usage is not None
    assert row.usage["output_tokens"] == lost["usage"]["output_tokens"] + 60
    assert row.usage["estimated"] is True
    assert [attempt["attempt"] for attempt in row.attempts] == [1, 2]


def test_after_two_more_attempts_the_partial_answer_is_an_error(stack: Stack, upstream: FakeUpstream) -> None:
    row = stack.finished(ask(stack, "continuing", tokens=100, rate=0, batch=10, cut_after=20, linger=1.0))
    assert row.status == "error"
    assert len(calls_of(stack, upstream, row.id)) == 3
    text = check(stack, row).text
    assert indices(text) == list(range(len(indices(text))))


# --- cancelled -------------------------------------------------------------------------------------------------------


def test_a_cancel_leaves_the_provider_within_a_second(stack: Stack, upstream: FakeUpstream) -> None:
    generation = ask(stack, tokens=10_000, rate=60)
    until(lambda: len(stack.log(generation)) > 10)
    view = stack.resources.generations.cancel(stack.user, generation)
    cancelled = time.time()
    [call] = calls_of(stack, upstream, generation)
    # The fake upstream notes the time first.
    until(lambda: call.end)
    # The bound is 10 s, for a busy machine. A call that is not ended would go on for minutes.
    assert (call.end, call.ended - cancelled < 10) == ("client_disconnected", True)  # type: ignore[operator]
    assert view.row.status == "cancelled"
    text = check(stack, stack.generation(generation)).text
    assert call_text(call.number, 0, 10_000).startswith(text)
    assert len(text) > 30


def test_a_cancel_leaves_a_silent_provider_within_two_seconds(stack: Stack, upstream: FakeUpstream) -> None:
    generation = ask(stack, first_delay=60)
    until(lambda: calls_of(stack, upstream, generation))
    [call] = calls_of(stack, upstream, generation)
    stack.resources.generations.cancel(stack.user, generation)
    cancelled = time.time()
    # The fake upstream notes the time first.
    until(lambda: call.end)
    # The call ends before its timeout for the first token.
    assert (call.end, call.ended - cancelled < FIRST_TOKEN_TIMEOUT - 2) == ("client_disconnected", True)  # type: ignore[operator]
    row = stack.generation(generation)
    assert row.status == "cancelled"
    assert check(stack, row).text == ""


def test_what_is_cancelled_while_it_waits_is_never_asked_for(stack: Stack, upstream: FakeUpstream) -> None:
    first = stack.start(json.dumps({"fake": {"tokens": 100, "rate": 20, "key": next(_number)}}), model="fake")
    said = json.dumps({"fake": {"key": next(_number)}})
    second = stack.start(said, model="fake", conversation_id=first.conversation.id, on_busy="enqueue")
    third = stack.start("third", model="offline-fast", conversation_id=first.conversation.id, on_busy="enqueue")
    stack.resources.generations.cancel(stack.user, second.generation.id)
    assert stack.finished(first.generation.id).status == "completed"
    assert stack.finished(third.generation.id).status == "completed"
    assert not [call for call in upstream.calls if call.body["messages"][-1].get("content") == said]


def test_the_worker_said_nothing_of_errors_of_its_own(worker: Worker) -> None:
    """The last test of its module: all faults above were expected, so the log has no traceback."""
    assert "Traceback" not in worker.log(), worker.tail(60)
    assert worker.alive
