"""The parts of the client that need no service: frames, cursors, pauses, problems, transcripts."""

from __future__ import annotations

import json
from collections import deque
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unbroken_client import (
    Conflict,
    ConnectionLost,
    LimitReached,
    NotFound,
    Notice,
    Patience,
    Problem,
    TooLarge,
    Transcript,
    Unavailable,
    UnbrokenError,
)
from unbroken_client.attempts import Attempts
from unbroken_client.errors import problem_of
from unbroken_client.frames import Frame, FrameParser
from unbroken_client.reading import Body, Reading, check_url, path_of
from unbroken_client.transcript import compare

STREAM = (
    ': ka\ndata: {"type":"open"}\n\ndata: {"a":\r\ndata: "é"}\rid: 1-0\r\n\r\n'
    "event: x\nretry: 5\n\nid: 9-9\n\ndata:last\n\n"
).encode()
FRAMES = [
    Frame(b'{"type":"open"}', None), Frame('{"a":\n"é"}'.encode(), "1-0"), Frame(b"last", "9-9"),
]  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 1000])
def test_frames_do_not_depend_on_the_cuts(size: int) -> None:
    parser = FrameParser(1000)
    chunks = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [frame for chunk in chunks for frame in parser.push(chunk)] == FRAMES


@pytest.mark.parametrize("flood", [b"x", b"data: xxxxxxxx\n"])
def test_an_event_has_a_largest_size(flood: bytes) -> None:
    parser = FrameParser(1000)
    with pytest.raises(TooLarge):
        deque(map(parser.push, repeat(flood, 1001)), maxlen=0)


def test_a_reply_has_a_largest_size() -> None:
    body = Body(10)
    body.add(b"0123456789")
    with pytest.raises(TooLarge):
        body.add(b"0")


@pytest.mark.parametrize("content", [b"<html>", b"", b"[" * 100_000])
def test_a_reply_that_is_no_json_is_a_lost_connection(content: bytes) -> None:
    body = Body(1_000_000)
    body.add(content)
    with pytest.raises(ConnectionLost):
        body.json()


@pytest.mark.parametrize(
    ("cursor", "id", "place"),
    [
        ("0-0", "1-0", "next"), ("1-0", "1-1", "next"), ("1-9", "1-10", "next"), ("1-7", "3-0", "next"),
        ("1-1", "1-1", "repeat"), ("2-0", "1-9", "repeat"), ("1-1", "1-3", "hole"), ("1-1", "2-1", "hole"),
        ("1-1", "odd", "next"),
    ],
)  # fmt: skip
def test_an_event_follows_repeats_or_leaves_a_hole(cursor: str, id: str, place: str) -> None:
    assert compare(cursor, id) == place


def reading(after: str = "0-0") -> Reading:
    return Reading("g", after, None, Attempts(Patience(), None))


def frame(id: str | None, **body: object) -> Frame:
    return Frame(json.dumps(body).encode(), id)


def test_a_reader_drops_repeats_and_reports_holes() -> None:
    reader = reading()
    assert reader.receive(frame("1-0", type="snapshot", text="a", reason="start", attempt=1))
    assert reader.receive(frame("1-0", type="snapshot", text="a", reason="start", attempt=1)) is None
    with pytest.raises(ConnectionLost):
        reader.receive(frame("1-2", type="token", content="c"))
    assert reader.receive(frame("1-1", type="token", content="b"))
    assert (reader.cursor, reader.transcript.text) == ("1-1", "ab")
    assert reader.request().headers["Last-Event-ID"] == "1-1"


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", b"7", b"[" * 100_000])
def test_an_event_that_cannot_be_read_is_a_lost_connection(data: bytes) -> None:
    with pytest.raises(ConnectionLost):
        reading().receive(Frame(data, None))


def test_an_event_of_an_unknown_type_is_passed_on() -> None:
    assert reading().receive(frame("1-0", type="new")) == {"type": "new", "id": "1-0"}


@pytest.mark.parametrize(("after", "is_right"), [("0-0", False), ("1-0", True)])
def test_only_a_whole_text_is_compared_with_its_sum(after: str, is_right: bool) -> None:
    reader = reading(after)
    reader.receive(frame("2-0", type="done", status="completed", sha256="other"))
    assert (reader.is_over, reader.is_right) == (True, is_right)


def test_a_restart_forgets_calls_and_a_takeover_does_not() -> None:
    transcript = Transcript()
    transcript.add({"type": "tool", "id": "1-1", "call_id": "c", "tool": "t", "state": "started", "arguments": ""})
    transcript.add({"type": "snapshot", "id": "2-0", "text": "x", "reason": "takeover", "attempt": 1})
    assert list(transcript.tools) == ["c"]
    transcript.add({"type": "snapshot", "id": "3-0", "text": "", "reason": "restart", "attempt": 2})
    assert (transcript.tools, transcript.text) == ({}, "")


def test_failures_are_bounded_and_pauses_grow() -> None:
    notices: list[Notice] = []
    attempts = Attempts(Patience(failures=6, first_pause=1, longest_pause=4), notices.append)
    with pytest.raises(ConnectionLost):
        deque(map(attempts.pause, repeat(ConnectionLost("gone"), 6)), maxlen=0)
    assert [notice.failures for notice in notices] == [1, 2, 3, 4, 5]
    assert all(0 <= notice.seconds <= limit for notice, limit in zip(notices, [1, 2, 4, 4, 4], strict=True))
    attempts.progress()
    assert attempts.pause(ConnectionLost("gone")) <= 1


@pytest.mark.parametrize(
    "cause",
    [UnbrokenError("no"), TooLarge("no"), Problem(404, {}), LimitReached(429, {}, 121), Unavailable(503, {}, 1e9)],
)
def test_an_error_that_does_not_pass_is_raised_at_once(cause: UnbrokenError) -> None:
    with pytest.raises(type(cause)):
        Attempts(Patience(), None).pause(cause)


def test_a_pause_is_as_long_as_the_service_asks_for() -> None:
    assert Attempts(Patience(), None).pause(LimitReached(429, {}, 100)) == 100


def test_a_problem_has_the_fields_of_the_service() -> None:
    body = {
        "type": "/problems/overloaded", "title": "Too much at once", "status": 429, "detail": "Full (MAX_QUEUED).",
        "errors": [{"field": "message", "detail": "no"}], "request_id": "r", "limit": "MAX_QUEUED",
    }  # fmt: skip
    problem = problem_of(429, {"Retry-After": "7"}, json.dumps(body).encode())
    assert isinstance(problem, LimitReached)
    assert (problem.type, problem.limit, problem.retry_after, problem.request_id) == (
        "/problems/overloaded", "MAX_QUEUED", 7, "r",
    )  # fmt: skip
    assert problem.errors[0].field == "message"
    assert "Full (MAX_QUEUED)." in str(problem)


def test_a_proxys_page_is_a_problem_without_fields() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    problem = problem_of(502, {"Retry-After": later}, b"<html>")
    assert isinstance(problem, Unavailable)
    assert problem.is_passing
    assert problem.retry_after is not None
    assert 20 < problem.retry_after <= 30
    assert problem_of(503, {"Retry-After": "soon"}, b"[]").retry_after is None
    assert isinstance(problem_of(409, {}, b""), Conflict)
    assert isinstance(problem_of(410, {}, b""), NotFound)


NAMES = ("type", "title", "detail", "status", "limit", "request_id", "errors", "field")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(NAMES), JSON) | JSON, st.sampled_from((400, 404, 409, 429, 502)))
def test_any_json_of_a_gateway_is_a_problem_with_fields_of_their_types(body: object, status: int) -> None:
    problem = problem_of(status, {}, json.dumps(body).encode())
    assert str(problem).startswith(f"{status}: ")
    assert {type(text) for text in (problem.type, problem.title, problem.detail)} == {str}
    assert {type(text) for text in (problem.limit, problem.request_id)} <= {str, type(None)}
    assert {type(text) for each in problem.errors for text in each} <= {str}


def test_a_gateways_list_of_errors_has_no_fields() -> None:
    assert problem_of(503, {}, b'{"errors": ["upstream connect error"]}').errors == []
    assert problem_of(503, {}, b'{"errors": [{"field": 1}, null]}').errors == [("", "")]
    assert isinstance(problem_of(503, {}, b"[" * 100_000), Unavailable)


def test_an_id_cannot_leave_its_path() -> None:
    assert path_of("../x?y") == "/api/v1/generations/..%2Fx%3Fy"


def test_an_address_names_its_protocol() -> None:
    with pytest.raises(ValueError, match="http"):
        check_url("127.0.0.1:8000")
