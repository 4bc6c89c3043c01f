"""A log has one transcript, for every beginning of the fold and for every set of copies that the log is merged from."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from app.domain.cursor import START, Cursor
from app.domain.events import Done, Entry, Event, Mark, Reasoning, Snapshot, Token, Tool, decode, encode, number
from app.domain.transcript import Transcript, contiguous, digest, merge

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
pieces = st.one_of(st.builds(Token, words), st.builds(Reasoning, words))


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """A log as workers write it: revisions with growing epochs, each with a snapshot of the text before it."""
    entries: list[Entry] = []
    epoch = 0
    for attempt in range(draw(st.integers(1, 4))):
        epoch += draw(st.integers(1, 3))
        said = Transcript.of(entries)
        reason = draw(st.sampled_from(["takeover", "continue", "restart", "failover"])) if entries else "start"
        kept = reason != "restart" and (reason != "failover" or draw(st.booleans()))
        first = Snapshot(said.text if kept else "", reason, attempt + 1, said.reasoning if kept else "")
        events: list[Event] = [first, *draw(st.lists(pieces, max_size=6))]
        entries += number(epoch, 0, [encode(event) for event in events])
    if draw(st.booleans()):
        n = entries[-1].cursor.n
        events = [Mark("stop", None), Done("completed", "stop", None, digest(Transcript.of(entries).text))]
        entries += number(epoch, n + 1, [encode(event) for event in events])
    return entries


def subset(entries: list[Entry], keep: list[bool]) -> list[Entry]:
    return [entry for entry, kept in zip(entries, keep, strict=False) if kept]


@st.composite
def partial_copies(draw: st.DrawFn) -> tuple[list[Entry], list[list[Entry]]]:
    log = draw(logs())
    keeps = st.lists(st.booleans(), min_size=len(log), max_size=len(log))
    return log, [subset(log, draw(keeps)) for _ in range(draw(st.integers(1, 3)))]


def longest_without_hole(entries: list[Entry], after: Cursor = START) -> list[Entry]:
    """The entries that count, by another definition: each revision from its start or ``after`` to its first hole."""
    have = {entry.cursor: entry for entry in entries if entry.cursor > after}
    found: list[Entry] = []
    for epoch in sorted({cursor.epoch for cursor in have} | {after.epoch}):
        n = after.n + 1 if epoch == after.epoch else 0
        while (cursor := Cursor(epoch, n)) in have:
            found.append(have[cursor])
            n += 1
    return found


@given(logs())
def test_a_fold_from_any_snapshot_is_the_fold_from_the_start(log: list[Entry]) -> None:
    whole = Transcript.of(log)
    for at, entry in enumerate(log):
        if entry.cursor.n == 0:
            part = Transcript.of(log[at:])
            assert (part.text, part.reasoning, part.attempt) == (whole.text, whole.reasoning, whole.attempt)
            assert (part.cursor, part.mark, part.done) == (whole.cursor, whole.mark, whole.done)


@given(logs())
def test_the_digest_of_the_end_is_the_digest_of_the_fold(log: list[Entry]) -> None:
    whole = Transcript.of(log)
    if whole.done:
        assert whole.done.sha256 == hashlib.sha256(whole.text.encode("utf-8")).hexdigest()


@given(logs(), st.data())
def test_going_on_from_a_known_answer_is_the_same_as_folding_everything(log: list[Entry], data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(log)))
    known = Transcript.of(log[:at])
    resumed = Transcript.resume(known.cursor, known.text, known.reasoning, known.tool_views())
    for cursor, payload in log[at:]:
        resumed.add(cursor, decode(payload))
    whole = Transcript.of(log)
    assert (resumed.text, resumed.reasoning, resumed.cursor) == (whole.text, whole.reasoning, whole.cursor)


@given(partial_copies())
def test_merging_partial_copies_gives_the_longest_log_without_a_hole(
    given_: tuple[list[Entry], list[list[Entry]]],
) -> None:
    _, copies = given_
    union = [entry for copy in copies for entry in copy]
    assert merge(*copies) == longest_without_hole(union)


@given(partial_copies(), st.data())
def test_merging_past_a_position_leaves_no_hole_behind_it(
    given_: tuple[list[Entry], list[list[Entry]]], data: st.DataObject
) -> None:
    log, copies = given_
    after = data.draw(st.sampled_from([START, *(entry.cursor for entry in log)]))
    union = [entry for copy in copies for entry in copy]
    assert merge(*copies, after=after) == longest_without_hole(union, after)


@given(partial_copies())
def test_merging_does_not_depend_on_the_order_of_the_copies(given_: tuple[list[Entry], list[list[Entry]]]) -> None:
    _, copies = given_
    assert merge(*copies) == merge(*reversed(copies))


@given(partial_copies())
def test_merging_again_changes_nothing(given_: tuple[list[Entry], list[list[Entry]]]) -> None:
    _, copies = given_
    merged = merge(*copies)
    assert merge(merged) == merged
    assert merge(merged, *copies) == merged


@given(partial_copies())
def test_a_whole_copy_decides(given_: tuple[list[Entry], list[list[Entry]]]) -> None:
    log, copies = given_
    assert merge(*copies, log) == log


@given(logs())
def test_a_whole_log_is_contiguous(log: list[Entry]) -> None:
    assert contiguous(log) == log


def test_what_stands_behind_a_hole_is_left_out_but_a_later_revision_is_not() -> None:
    one, two = number(1, 0, [b"a", b"b", b"c", b"d"]), number(2, 0, [b"e", b"f"])
    assert contiguous([*one[:2], one[3], *two]) == [*one[:2], *two]


def test_tool_calls_are_kept_in_their_latest_state_and_first_order() -> None:
    events: list[Event] = [
        Snapshot("", "start", 1),
        Tool("a", "clock", "started", "{}"),
        Tool("b", "map", "started", "{}"),
        Tool("a", "clock", "finished", "{}", "noon"),
    ]
    said = Transcript.of(number(1, 0, [encode(event) for event in events]))
    assert [(tool["call_id"], tool["state"], tool["result"]) for tool in said.tool_views()] == [
        ("a", "finished", "noon"),
        ("b", "started", None),
    ]


def test_a_restart_forgets_the_tool_calls_of_the_attempt_it_replaces() -> None:
    events: list[Event] = [Snapshot("", "start", 1), Token("hm"), Tool("a", "clock", "started", "{}")]
    entries = number(1, 0, [encode(event) for event in events])
    entries += number(2, 0, [encode(Snapshot("", "restart", 2)), encode(Tool("b", "clock", "started", "{}"))])
    assert [tool["call_id"] for tool in Transcript.of(entries).tool_views()] == ["b"]


def test_a_takeover_keeps_the_tool_calls_of_a_finished_provider() -> None:
    events: list[Event] = [Snapshot("", "start", 1), Tool("a", "clock", "started", "{}"), Mark("tool_calls", None)]
    entries = number(1, 0, [encode(event) for event in events])
    entries += number(2, 0, [encode(Snapshot("", "takeover", 1))])
    assert [tool["call_id"] for tool in Transcript.of(entries).tool_views()] == ["a"]


def test_fresh_is_what_was_said_since_the_last_snapshot() -> None:
    events: list[Event] = [Snapshot("old ", "continue", 2, "thought "), Reasoning("x"), Token("new")]
    assert Transcript.of(number(2, 0, [encode(event) for event in events])).fresh == "newx"


@given(st.lists(pieces, max_size=8))
def test_a_piece_that_is_said_is_folded_as_its_event_is(events: list[Token | Reasoning]) -> None:
    added, said = Transcript(), Transcript()
    for transcript in (added, said):
        transcript.add(Cursor(3, 0), Snapshot("before", "takeover", 1, "thought"))
    for n, event in enumerate(events, 1):
        added.add(Cursor(3, n), event)
        said.say(event.content, isinstance(event, Reasoning))
    assert (said.cursor, said.text, said.reasoning, said.fresh) == (
        added.cursor,
        added.text,
        added.reasoning,
        added.fresh,
    )


def test_a_failover_keeps_its_text_and_forgets_the_calls_that_do_not_follow_it() -> None:
    call = Tool("c", "add", "finished", "{}", "3")
    events: list[Event] = [Snapshot("", "start", 1), Token("Let me "), call]
    failover = number(2, 0, [encode(Snapshot("Let me ", "failover", 2))])
    before = number(1, 0, [encode(event) for event in events])
    said = Transcript.of([*before, *failover])
    assert (said.text, said.tools) == ("Let me ", {})
    said.add(Cursor(2, 1), call)
    assert said.tools == {"c": call}
