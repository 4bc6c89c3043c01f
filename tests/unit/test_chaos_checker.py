"""The checker of tests/chaos: a good history passes every rule, and each rule turns red on a history that breaks it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.__main__ import summary
from tests.chaos.checker import RULES, check, resets
from tests.chaos.evidence import Call, Dump, Evidence, Footprint
from tests.chaos.history import (
    BROKEN,
    CLEAN,
    NO_CONTENT,
    Asked,
    Cancelling,
    Committed,
    Connection,
    Exit,
    Fault,
    Frame,
    History,
    Polling,
    Reading,
    Reply,
)
from tests.chaos.load import canary
from tests.chaos.runner import Outcome
from tests.fakes.upstream import call_text, token

G = "generation-1"
TAG = "message-1-0"
# test_chaos_protocols.py and test_chaos_targets.py have the histories of these modules' rules.
OTHERS = {"tests.chaos.protocols", "tests.chaos.targets"}
# In the good history a worker is lost when its last token is shown (102); at 103 the next one goes on.
KILLED = Fault(102, "worker killed", f"worker-1 {G}", 102)


def event(type_: str, **fields: Any) -> bytes:
    return json.dumps({"type": type_, **fields}, separators=(",", ":"), ensure_ascii=False).encode()


def good() -> Evidence:
    """A good history: call 0 sends two tokens and is lost, call 1 continues with two more, all clients get all four."""
    text = call_text(0, 0, 2) + call_text(1, 2, 4)
    sha = hashlib.sha256(text.encode()).hexdigest()
    log = [
        ("1-0", event("snapshot", text="", reason="start", attempt=1)),
        ("1-1", event("token", content=token(0, 0))),
        ("1-2", event("token", content=token(0, 1))),
        ("2-0", event("snapshot", text=call_text(0, 0, 2), reason="continue", attempt=2)),
        ("2-1", event("token", content=token(1, 2) + token(1, 3))),
        ("2-2", event("done", status="completed", finish_reason="stop", usage=None, sha256=sha)),
    ]
    frames = [Frame(100 + i, identity, payload) for i, (identity, payload) in enumerate(log)]
    opening = Frame(99.5, None, event("open", generation_id=G))
    steady = Reading("steady", "stable", G, "alice", [Connection(99, "0-0", 200, [opening, *frames], CLEAN, 106)], True)
    moved = Reading(
        "moved",
        "reconnecting",
        G,
        "alice",
        [
            Connection(99, "0-0", 200, frames[:2], BROKEN, 102),
            Connection(102, "1-1", 200, frames[2:], CLEAN, 106),
            Connection(107, "2-2", 204, [], NO_CONTENT, 107),
        ],
        True,
    )
    body = {"id": G, "status": "completed", "cursor": "2-2", "content": text, "sha256": sha}
    early = {"id": G, "status": "running", "cursor": "1-1", "content": token(0, 0)}
    polls = [
        Reply(101, 200, {**early, "events": [_told(log[0]), _told(log[1])]}),
        Reply(106, 200, {**body, "events": [_told(entry) for entry in log[2:]]}),
    ]
    history = History(
        1,
        "test",
        1,
        asked=[Asked(TAG, "alice", "key", [Reply(98, None, ""), Reply(99, 202, {"generation": {"id": G}})], G)],
        readings=[steady, moved],
        pollings=[Polling("poller", G, "alice", polls)],
        foreign=[Reply(100, 404, None)],
        fetched={G: body},
        messages={G: text},
        committed=[Committed(G, 105, "completed")],
        faults=[KILLED],
    )
    row = {
        "id": G,
        "status": "completed",
        "epoch": 2,
        "tries": 2,
        "final_epoch": 2,
        "final_n": 2,
        "sha256": sha,
        "error": None,
        "finished_at": 104.5,
        "message": f"{TAG} hello",
        "content": text,
        "message_status": "completed",
    }
    calls = [Call(0, TAG, 99, 0, 2, "client_disconnected"), Call(1, TAG, 102, 2, 2, "finished")]
    prints = {"web#0": Footprint(30, 10, 90_000)}
    dump = Dump({G: row}, {G: list(log)}, {}, {G: log[3:]}, before=prints, after=dict(prints))
    return Evidence(history, calls, dump)


def _told(entry: tuple[str, bytes]) -> dict[str, Any]:
    return {"id": entry[0], **json.loads(entry[1])}


def connection(evidence: Evidence) -> Connection:
    return evidence.history.readings[0].connections[0]


def test_a_good_history_breaks_no_rule() -> None:
    assert check(good()) == []


# --- one bad history for each rule, and more where a rule has several sides -----------------------------------------


def skip_an_event(e: Evidence) -> None:
    del connection(e).frames[2]


def repeat_an_event(e: Evidence) -> None:
    connection(e).frames.insert(3, connection(e).frames[2])


def go_back_after_reconnecting(e: Evidence) -> None:
    moved = e.history.readings[1]
    moved.connections[1].frames.insert(0, moved.connections[0].frames[1])


def enter_a_revision_in_its_middle(e: Evidence) -> None:
    del connection(e).frames[4]


def change_an_event_for_one_reader(e: Evidence) -> None:
    connection(e).frames[2] = connection(e).frames[2]._replace(data=event("token", content="k0.9 "))


def change_an_event_in_redis(e: Evidence) -> None:
    e.dump.redis[G][1] = ("2-1", event("token", content="k1.9 "))


def change_an_event_for_the_poller(e: Evidence) -> None:
    e.history.pollings[0].replies[0].body["events"][1]["content"] = "k0.9 "


def archive_less_than_was_shown(e: Evidence) -> None:
    del e.dump.archives[G][2]


def end_cleanly_without_done(e: Evidence) -> None:
    del connection(e).frames[-1]


def speak_after_done(e: Evidence) -> None:
    connection(e).frames.append(Frame(107, "2-3", event("token", content="x")))


def answer_204_too_early(e: Evidence) -> None:
    e.history.readings[1].connections.insert(1, Connection(102, "1-1", 204, [], NO_CONTENT, 102))


def show_done_before_the_commit(e: Evidence) -> None:
    e.history.committed[0].status = "running"


def finish_later_than_done(e: Evidence) -> None:
    e.dump.generations[G]["finished_at"] = 200.0


def show_another_end(e: Evidence) -> None:
    e.dump.generations[G]["final_n"] = 7


def take_text_back(e: Evidence) -> None:
    for log in (e.dump.archives[G], e.dump.redis[G]):
        place = [identity for identity, _ in log].index("2-0")
        log[place] = ("2-0", event("snapshot", text=token(0, 0), reason="continue", attempt=2))


def take_text_back_for_a_reader(e: Evidence) -> None:
    frames = connection(e).frames
    frames[4] = frames[4]._replace(data=event("snapshot", text=token(0, 0), reason="continue", attempt=2))


def store_another_text(e: Evidence) -> None:
    e.dump.generations[G]["content"] = call_text(0, 0, 4)


def fetch_another_text(e: Evidence) -> None:
    e.history.fetched[G] = {**e.history.fetched[G], "content": "?"}


def lie_about_sha(e: Evidence) -> None:
    e.dump.generations[G]["sha256"] = "0" * 64


def say_tokens_of_somebody_else(e: Evidence) -> None:
    e.calls[0].tag = "message-1-5"


def join_where_the_call_did_not_begin(e: Evidence) -> None:
    e.calls[1].first_index = 3


def store_an_acknowledged_message_never(e: Evidence) -> None:
    e.dump.generations.clear()


def store_a_message_twice(e: Evidence) -> None:
    e.dump.generations["generation-2"] = {**e.dump.generations[G], "id": "generation-2"}


def answer_500(e: Evidence) -> None:
    e.history.asked[0].replies.insert(0, Reply(98, 500, {"title": "Internal Server Error"}))


def answer_a_reader_400(e: Evidence) -> None:
    e.history.readings[1].connections.insert(1, Connection(102, "1-1", 400, [], "400", 102))


def show_a_poller_less(e: Evidence) -> None:
    e.history.pollings[0].replies.reverse()


def skip_an_event_for_the_poller(e: Evidence) -> None:
    del e.history.pollings[0].replies[1].body["events"][1]


def forget_a_cancel(e: Evidence) -> None:
    answer = {"status": "cancelled", "content": token(0, 0)}
    e.history.cancellings.append(Cancelling(G, "alice", [Reply(101, 200, answer)]))


def forget_a_cancel_that_was_left_to_a_worker(e: Evidence) -> None:
    answer = {"status": "running", "content": token(0, 0)}
    e.history.cancellings.append(Cancelling(G, "alice", [Reply(101, 202, answer)]))


def show_another_users_words(e: Evidence) -> None:
    connection(e).frames[0] = Frame(99.5, None, event("open", title=canary("bob")))


def let_a_stranger_in(e: Evidence) -> None:
    e.history.foreign.append(Reply(100, 200, {"id": G}))


def never_end(e: Evidence) -> None:
    e.dump.generations[G].update(status="running", finished_at=None, final_n=None, final_epoch=None)


def leave_a_reader_waiting(e: Evidence) -> None:
    e.history.readings[0].finished = False


def fail_for_no_reason(e: Evidence) -> None:
    e.dump.generations[G].update(status="error", error={"code": "attempts_exhausted"})


def ask_the_provider_for_what_is_complete(e: Evidence) -> None:
    e.calls.append(Call(2, TAG, 110, 4))


def ask_the_provider_too_often(e: Evidence) -> None:
    e.calls += [Call(number, TAG, 100, 4) for number in range(2, 10)]


def leave_a_key_for_ever(e: Evidence) -> None:
    e.dump.endless_keys.append("ns:{g}:log")


def leave_a_transaction_open(e: Evidence) -> None:
    e.dump.idle.append("pid 7")


def end_by_itself(e: Evidence) -> None:
    e.history.exits.append(Exit(101, "worker-1#7", "exit code 1"))


def grow_beyond_measure_after_a_start(e: Evidence) -> None:
    e.dump.after["web#9"] = Footprint(30, 10, 900_000)


def leak_descriptors(e: Evidence) -> None:
    e.dump.after["web#0"] = Footprint(300, 10, 90_000)


def leak_connections(e: Evidence) -> None:
    e.dump.after["web#0"] = Footprint(30, 10, 90_000, pooled=100)


def leave_checkpoints(e: Evidence) -> None:
    e.dump.chunks[G] = e.dump.archives[G][:3]


BAD: list[tuple[str, Callable[[Evidence], None]]] = [
    ("order", skip_an_event),
    ("order", repeat_an_event),
    ("order", go_back_after_reconnecting),
    ("order", enter_a_revision_in_its_middle),
    ("one_meaning", change_an_event_for_one_reader),
    ("one_meaning", change_an_event_in_redis),
    ("one_meaning", change_an_event_for_the_poller),
    ("one_meaning", take_text_back),
    ("archived", archive_less_than_was_shown),
    ("ends", end_cleanly_without_done),
    ("ends", speak_after_done),
    ("ends", answer_204_too_early),
    ("commit_first", show_done_before_the_commit),
    ("commit_first", finish_later_than_done),
    ("commit_first", show_another_end),
    ("rewinds", take_text_back_for_a_reader),
    ("final_text", store_another_text),
    ("final_text", fetch_another_text),
    ("final_text", lie_about_sha),
    ("provenance", say_tokens_of_somebody_else),
    ("provenance", join_where_the_call_did_not_begin),
    ("acknowledged", store_an_acknowledged_message_never),
    ("acknowledged", store_a_message_twice),
    ("answers", answer_500),
    ("answers", answer_a_reader_400),
    ("polls", show_a_poller_less),
    ("polls", skip_an_event_for_the_poller),
    ("cancels", forget_a_cancel),
    ("cancels", forget_a_cancel_that_was_left_to_a_worker),
    ("isolation", show_another_users_words),
    ("isolation", let_a_stranger_in),
    ("liveness", never_end),
    ("liveness", leave_a_reader_waiting),
    ("endings", fail_for_no_reason),
    ("provider_calls", ask_the_provider_for_what_is_complete),
    ("provider_calls", ask_the_provider_too_often),
    ("hygiene", leave_a_key_for_ever),
    ("hygiene", leave_a_transaction_open),
    ("hygiene", leak_descriptors),
    ("hygiene", leak_connections),
    ("hygiene", leave_checkpoints),
    ("hygiene", grow_beyond_measure_after_a_start),
    ("processes", end_by_itself),
]


@pytest.mark.parametrize(("rule", "spoil"), BAD, ids=lambda value: getattr(value, "__name__", value))
def test_a_bad_history_turns_its_rule_red(rule: str, spoil: Callable[[Evidence], None]) -> None:
    evidence = good()
    spoil(evidence)
    assert rule in {violation.rule for violation in check(evidence)}


def cancel_and_take_back(e: Evidence) -> None:
    frames = connection(e).frames
    frames[4] = frames[4]._replace(data=event("snapshot", text=token(0, 0), reason="cancel", attempt=2))
    e.history.cancellings.append(Cancelling(G, "alice", [Reply(103, 200, {"status": "completed", "content": ""})]))


def test_every_rule_has_a_bad_history() -> None:
    assert {rule for rule, _ in BAD} == {name for name, rule in RULES.items() if rule.__module__ not in OTHERS}


# --- findings that the fault log explains ---------------------------------------------------------------------------


def broken_rules(e: Evidence) -> set[str]:
    return {violation.rule for violation in check(e)}


def test_a_second_call_needs_a_fault_that_ended_the_first() -> None:
    evidence = good()
    evidence.history.faults.clear()
    assert broken_rules(evidence) == {"provider_calls"}
    evidence.history.faults.append(replace(KILLED, detail="worker-1 of somebody-else"))
    assert broken_rules(evidence) == {"provider_calls"}
    evidence.history.faults.append(Fault(101, "redis flushed", "", 101))
    assert broken_rules(evidence) == {"provider_calls"}
    evidence.history.faults.append(replace(KILLED, at=300, ended=300))
    assert broken_rules(evidence) == {"provider_calls"}, "that was later"
    evidence.history.faults.append(KILLED)
    assert broken_rules(evidence) == set()


@pytest.mark.parametrize(
    ("faults", "explained"),
    [
        ([], False),
        ([Fault(102, "redis flushed", "", 102)], True),
        ([Fault(102.5, "redis killed", "", 102.7)], True),
        ([Fault(102, "black hole", "for 3 s: web-a.redis", 105)], True),
        ([Fault(102, "black hole", "for 3 s: worker-1.provider", 105)], False),
        ([Fault(80, "redis flushed", "", 80)], False),
        ([Fault(110, "redis flushed", "", 110)], False),
        ([Fault(102, "redis full", "", 105)], False),
        ([Fault(102, "postgres stopped", "", 105)], False),
    ],
    ids=str,
)
@pytest.mark.parametrize("spoil", [take_text_back_for_a_reader, cancel_and_take_back])
def test_text_is_taken_back_only_where_log_and_owner_are_lost_together(
    spoil: Callable[[Evidence], None], faults: list[Fault], explained: bool
) -> None:
    evidence = good()
    spoil(evidence)
    evidence.history.faults += faults
    assert ("rewinds" not in broken_rules(evidence)) is explained
    [reset] = resets(evidence)
    assert (reset.why is not None) is explained


def test_a_lost_log_alone_takes_nothing_back() -> None:
    evidence = good()
    take_text_back_for_a_reader(evidence)
    evidence.history.faults[:] = [Fault(102, "redis flushed", "", 102)]
    assert "rewinds" in broken_rules(evidence)


def test_what_is_not_in_the_archive_needs_the_faults_too() -> None:
    evidence = good()
    archive_less_than_was_shown(evidence)
    assert "archived" in broken_rules(evidence)
    evidence.history.faults.append(Fault(102, "redis flushed", "", 102))
    assert "archived" not in broken_rules(evidence)


def test_an_answer_begins_anew_only_where_it_cannot_be_continued() -> None:
    evidence = good()
    frames = connection(evidence).frames
    frames[4] = frames[4]._replace(data=event("snapshot", text="", reason="restart", attempt=2))
    assert "rewinds" in broken_rules(evidence)
    evidence.history.asked[0].wishes = {"tool_call": {"name": "clock"}}
    assert "rewinds" not in broken_rules(evidence)
    evidence.history.faults.clear()
    assert "rewinds" in broken_rules(evidence)


def test_an_error_needs_faults_for_each_try() -> None:
    evidence = good()
    error = {"code": "attempts_exhausted"}
    evidence.dump.generations[G].update(status="error", message_status="error", error=error, tries=6)
    assert "endings" in broken_rules(evidence)
    evidence.history.faults += [KILLED] * 4
    assert "endings" not in broken_rules(evidence)


def test_what_was_skipped_or_met_nothing_has_not_held() -> None:
    verdicts = ("passed", "failed", "no coverage", "skipped")
    outcomes = [Outcome(f"s-{verdict}", 1, "", 1, verdict) for verdict in verdicts]
    assert [outcome.good for outcome in outcomes] == [True, False, False, False]
    assert summary(outcomes) == "1 of 4 held; failed: s-failed; no coverage: s-no coverage; skipped: s-skipped"


def test_a_call_after_the_end_needs_a_hop_that_held_it_back() -> None:
    evidence = good()
    ask_the_provider_for_what_is_complete(evidence)
    begun, end = evidence.calls[-1].started, evidence.dump.generations[G]["finished_at"]
    evidence.history.faults.append(Fault(end - 1, "first target slow", "9 s", begun - 5))
    assert "provider_calls" in broken_rules(evidence), "it was over before"
    evidence.history.faults.append(Fault(end + 1, "first target slow", "9 s", begun))
    assert "provider_calls" in broken_rules(evidence), "it began behind the end"
    evidence.history.faults.append(Fault(end - 1, "first target slow", "9 s", begun))
    assert "provider_calls" not in broken_rules(evidence)
