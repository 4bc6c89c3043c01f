"""stream.js in Chromium, against a server in trouble."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.scripted import Answer, ScriptedServer, events, nothing, status, stream

TEXT = "Hello, sea ☂"
START = {"type": "snapshot", "text": "", "reason": "start", "attempt": 1}
OPEN = {"type": "open", "generation_id": "g1", "conversation_id": "c1", "message_id": "m2", "user_message_id": "m1"}
OPEN |= {"conversation_created": True, "status": "running", "after": "0-0"}
HEL, LO, SEA = ({"type": "token", "content": text} for text in ("Hel", "lo, ", "sea ☂"))
DONE = {"type": "done", "status": "completed", "sha256": hashlib.sha256(TEXT.encode()).hexdigest()}
FIRST = (None, OPEN), ("1-0", START), ("1-1", HEL)
REST = ("1-2", LO), ("1-3", SEA), ("1-4", DONE)
GENERATION = {"id": "g1", "status": "completed", "content": TEXT, "cursor": "1-4"}

# Short pauses, so that a bad day lasts a second; but no limit that a busy machine could exceed where nothing is amiss.
TIMES = {"minDelay": 20, "maxDelay": 60, "firstByte": 20_000, "silence": 20_000, "pollWait": 1, "pollPause": 20}

FOLLOW = """
async ({call, options, times, seconds}) => {
  const {follow, begin} = await import('/static/stream.js');
  const events = [], states = [];
  const reader = (call === 'begin' ? begin : follow)({
    ...options, times,
    token: () => 'secret',
    onEvent: (event) => events.push(event),
    onState: (state) => states.push(state),
  });
  const late = new Promise((resolve) => setTimeout(() => resolve({reason: 'late'}), seconds * 1000));
  const end = await Promise.race([reader.finished, late]);
  reader.stop();
  const {text, reasoning} = reader.transcript;
  return {events, states, reason: end.reason, status: end.status, text, reasoning, cursor: reader.cursor};
}
"""


class Reading:
    """One run of the reader, and its events, states and end."""

    def __init__(self, page: Page, server: ScriptedServer, answers: tuple[Answer, ...], **given: Any) -> None:
        server.play(*answers, polls=given.get("polls", ()))
        options = {"url": "/g/g1/stream"} | given.get("options", {})
        argument = {
            "call": given.get("call", "follow"),
            "options": options,
            "times": TIMES | given.get("times", {}),
            "seconds": 60,
        }
        self.__dict__.update(page.evaluate(FOLLOW, argument))
        self.asked = list(server.asked)

    events: list[dict[str, Any]]
    states: list[dict[str, Any]]
    reason: str
    status: int | None
    text: str

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.events if "id" in event]

    @property
    def names(self) -> list[str]:
        return [state["name"] for state in self.states]


@pytest.fixture
def read(module_page: Page, scripted: ScriptedServer) -> Any:
    return lambda *answers, **given: Reading(module_page, scripted, answers, **given)


def test_reads_an_answer_to_its_end(read: Any) -> None:
    reading = read(stream(events(*FIRST, *REST)))
    assert (reading.reason, reading.text) == ("done", TEXT)
    assert reading.ids == ["1-0", "1-1", "1-2", "1-3", "1-4"]
    assert [asked.headers["Authorization"] for asked in reading.asked] == ["Bearer secret"]
    assert reading.names == ["connecting", "live", "finished"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_any_split_of_the_bytes_is_the_same_answer(read: Any, size: int) -> None:
    whole = events(*FIRST, *REST)
    reading = read(stream(*(whole[at : at + size] for at in range(0, len(whole), size))))
    assert (reading.text, len(reading.ids)) == (TEXT, 5)


def test_the_parser_takes_every_form_the_standard_allows(module_page: Page) -> None:
    source = (
        "\ufeff: comment\r\ndata: one\rdata:two\ndata\r\nid: 7\r\n\r\n: ka\nevent: named\ndata: x\n\nid: 8\n\n"
        "data: y\nid: nul\0l\n\nretry: 5\nunknown: z\ndata:  spaces \n\ndata: unfinished"
    )
    splits = module_page.evaluate(
        """async (source) => {
          const {EventParser} = await import('/static/stream.js');
          const all = new Set();
          for (let a = 0; a <= source.length; a += 1) for (let b = a; b <= source.length; b += 3) {
            const got = [];
            const parser = new EventParser((event) => got.push(event));
            for (const piece of [source.slice(0, a), source.slice(a, b), source.slice(b)]) parser.push(piece);
            all.add(JSON.stringify(got));
          }
          return [...all];
        }""",
        source,
    )
    assert len(splits) == 1
    assert json.loads(splits[0]) == [
        {"data": "one\ntwo\n", "event": "message", "id": "7"},
        {"data": "x", "event": "named", "id": None},
        {"data": "y", "event": "message", "id": None},
        {"data": " spaces ", "event": "message", "id": None},
    ]


@pytest.mark.parametrize("end", ["", "\n"], ids=["line", "lines"])
def test_the_parser_gives_up_an_event_without_an_end(module_page: Page, end: str) -> None:
    seen = module_page.evaluate(
        """async (end) => {
          const {EventParser} = await import('/static/stream.js');
          const parser = new EventParser(() => {});
          const piece = `data: ${'x'.repeat(2 ** 24)}${end}`;
          try {
            for (let n = 1; n <= 5; n += 1) parser.push(piece);
          } catch (error) { return error.name; }
        }""",
        end,
    )
    assert seen == "RangeError"


def test_a_broken_connection_goes_on_behind_the_last_event(read: Any) -> None:
    reading = read(stream(events(*FIRST), end="broken"), stream(events((None, OPEN), *REST)))
    assert (reading.reason, reading.text) == ("done", TEXT)
    assert [asked.headers["Last-Event-ID"] for asked in reading.asked] == [None, "1-1"]


def test_a_body_that_ends_without_done_is_not_the_end(read: Any) -> None:
    reading = read(stream(events(*FIRST)), stream(events(*REST)))
    assert (reading.text, len(reading.asked)) == (TEXT, 2)


def test_an_event_cut_in_its_middle_is_asked_for_again(read: Any) -> None:
    cut = events(*FIRST) + events(("1-2", LO))[:-9]
    reading = read(stream(cut, end="broken"), stream(events(*REST)))
    assert (reading.text, reading.asked[1].headers["Last-Event-ID"]) == (TEXT, "1-1")


def test_a_repeat_is_dropped(read: Any) -> None:
    reading = read(stream(events(*FIRST), end="broken"), stream(events(*FIRST, *REST)))
    assert (reading.text, reading.ids) == (TEXT, ["1-0", "1-1", "1-2", "1-3", "1-4"])


def test_behind_a_hole_it_asks_again(read: Any) -> None:
    reading = read(stream(events(*FIRST, ("1-3", SEA), ("1-4", DONE))), stream(events(*REST)))
    assert (reading.text, reading.asked[1].headers["Last-Event-ID"]) == (TEXT, "1-1")


def test_a_new_revision_replaces_the_text(read: Any) -> None:
    again = ("2-0", START | {"text": "Hello, ", "reason": "takeover"}), ("2-1", SEA), ("2-2", DONE)
    reading = read(stream(events(*FIRST, *again)))
    assert (reading.text, reading.ids[-1]) == (TEXT, "2-2")


def test_a_revision_without_its_snapshot_is_a_hole(read: Any) -> None:
    snapshot, *rest = ("2-0", START | {"text": "Hello, ", "reason": "takeover"}), ("2-1", SEA), ("2-2", DONE)
    reading = read(stream(events(*FIRST, *rest)), stream(events(snapshot, *rest)))
    assert (reading.text, reading.asked[1].headers["Last-Event-ID"]) == (TEXT, "1-1")


def test_a_connection_without_a_sound_is_replaced(read: Any) -> None:
    reading = read(stream(events(*FIRST), end="open"), stream(events(*REST)), times={"silence": 2000})
    assert (reading.text, len(reading.asked)) == (TEXT, 2)
    assert 1.9 < reading.asked[1].at - reading.asked[0].at < 15


def test_heartbeats_are_sound_enough(read: Any) -> None:
    beats = [piece for _ in range(12) for piece in (0.5, b": ka\n")]
    reading = read(stream(events(*FIRST), *beats, events(*REST)), times={"silence": 4000})
    assert (reading.text, len(reading.asked)) == (TEXT, 1)


@pytest.mark.parametrize(
    ("code", "reason"), [(401, "signed-out"), (403, "refused"), (404, "refused"), (400, "refused")]
)
def test_a_refusal_is_final(read: Any, code: int, reason: str) -> None:
    reading = read(status(code, {"detail": "no"}))
    assert (reading.reason, reading.status, len(reading.asked)) == (reason, code, 1)
    assert reading.states[-1]["problem"] == {"detail": "no"}


def test_a_token_that_expires_on_the_way_is_final(read: Any) -> None:
    reading = read(stream(events(*FIRST, (None, {"type": "auth", "detail": "token expired"})), end="broken"))
    assert (reading.reason, len(reading.asked)) == ("signed-out", 1)


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_honoured_and_said(read: Any, code: int) -> None:
    whole = stream(events(*FIRST, *REST))
    polls = [status(200, GENERATION | {"events": [{"id": id} | event for id, event in (*FIRST, *REST) if id]})]
    reading = read(status(code, {"detail": "later"}, Retry_After="1"), whole, polls=polls)
    assert reading.text == TEXT
    assert ("after=" in reading.asked[1].path) == (code == 429), "who may have no more streams asks instead"
    assert reading.asked[1].at - reading.asked[0].at >= 0.99
    waiting = next(state for state in reading.states if state["name"] == "waiting")
    assert (waiting["status"], waiting["problem"]) == (code, {"detail": "later"})


def test_a_retry_after_of_hours_is_a_refusal(read: Any) -> None:
    reading = read(status(429, {"detail": "tomorrow"}, Retry_After="40000"))
    assert (reading.reason, len(reading.asked)) == ("refused", 1)


def test_nothing_left_is_answered_by_fetching_the_whole_once(read: Any) -> None:
    reading = read(status(204), status(200, GENERATION), options={"cursor": "1-4"})
    assert (reading.reason, reading.text) == ("done", TEXT)
    assert [asked.path for asked in reading.asked] == ["/g/g1/stream", "/g/g1"]


def test_a_text_that_does_not_match_its_hash_is_fetched(read: Any) -> None:
    wrong = ("1-3", SEA | {"content": "see"})
    reading = read(stream(events(*FIRST, ("1-2", LO), wrong, ("1-4", DONE))), status(200, GENERATION))
    assert (reading.text, reading.events[-1]["type"]) == (TEXT, "final")


def test_when_streaming_keeps_failing_it_polls_and_streams_again_later(read: Any) -> None:
    reading = read(
        status(500),
        stream(),
        stream(end="broken"),
        stream(events(("1-3", SEA), ("1-4", DONE))),
        polls=[
            status(200, {"status": "running", "events": [{"id": "1-0", **START}, {"id": "1-1", **HEL}]}),
            status(200, {"status": "running", "events": [{"id": "1-2", **LO}]}),
            status(200, {"status": "running", "events": []}),
        ],
        times={"pollingPeriod": 3000},
    )
    assert (reading.reason, reading.text) == ("done", TEXT)
    assert [asked.path for asked in reading.asked][3:5] == ["/g/g1?after=0-0&wait=1", "/g/g1?after=1-1&wait=1"]
    assert "polling" in reading.names
    assert reading.asked[-1].path == "/g/g1/stream"


def test_polling_alone_reaches_the_end(read: Any) -> None:
    whole = [{"id": cursor, **event} for cursor, event in (*FIRST[1:], *REST)]
    reading = read(*[status(502)] * 3, status(200, {"status": "completed", "events": whole}))
    assert (reading.reason, reading.text, len(reading.asked)) == ("done", TEXT, 4)


def test_starting_sends_one_key_until_it_is_acknowledged(read: Any) -> None:
    reading = read(
        nothing,
        stream(b": hi\n", end="broken"),
        stream(events(*FIRST), end="broken"),
        stream(events((None, OPEN), *REST)),
        call="begin",
        options={"url": "/generations", "body": {"message": "Hi"}},
    )
    assert (reading.reason, reading.text) == ("done", TEXT)
    *posts, last = reading.asked
    bodies = [json.loads(asked.body) for asked in posts]
    assert len(bodies) >= 3
    assert {(body["client_msg_id"], body["stream"], body["message"]) for body in bodies} == {
        (bodies[0]["client_msg_id"], True, "Hi")
    }
    assert (last.method, last.path, last.headers["Last-Event-ID"]) == ("GET", "/generations/g1/stream", "1-1")


def test_starting_works_where_the_server_does_not_stream(read: Any) -> None:
    accepted = {"generation": {"id": "g1", "conversation_id": "c1", "message_id": "m2", "status": "queued"}}
    accepted["message"] = {"message_id": "m1"}
    reading = read(
        status(202, accepted),
        stream(events(*FIRST, *REST)),
        call="begin",
        options={"url": "/generations", "body": {"message": "Hi"}},
    )
    assert (reading.text, reading.events[0]["type"], reading.asked[1].path) == (TEXT, "open", "/generations/g1/stream")


def test_pauses_grow_are_random_and_stay_below_thirty_seconds(module_page: Page) -> None:
    longest, shortest, dates = module_page.evaluate(
        """async () => {
          const {backoff, retryAfter} = await import('/static/stream.js');
          const now = Date.parse('2026-01-01T00:00:00Z');
          return [
            Array.from({length: 9}, (_, n) => backoff(n, {random: () => 1})),
            backoff(5, {random: () => 0}),
            [retryAfter('2'), retryAfter('Thu, 01 Jan 2026 00:00:05 GMT', now), retryAfter(null), retryAfter('soon')],
          ];
        }"""
    )
    assert longest == [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]
    assert shortest == 0
    assert dates == [2000, 5000, None, None]
