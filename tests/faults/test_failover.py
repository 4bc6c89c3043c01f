"""Targets that fail: the next one goes on, at once and announced, and breakers keep calls away. Real parts throughout.

``python -m tests.failover`` cuts at every place; here a few places are drawn.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.events import Snapshot, decode
from app.domain.models import ModelSpec
from app.services.upstream_status import UpstreamStatus
from app.store.database import fetch_one
from app.store.generations import Generation
from dev.postgres import Postgres
from dev.server import free_port
from dev.valkey import Valkey
from tests.conftest import cloned_database
from tests.failover.cases import PAIRS, TOKENS, Case, run
from tests.failover.rig import Rig, rig
from tests.fakes.upstream import TOKEN
from tests.stack import Web, Worker, until

FEW = 3
OPEN_SECONDS = 6
# The pause that a refusal asks for, longer than any of a busy machine.
ASKED_SECONDS = 20


@pytest.fixture(scope="module")
def deployed(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey
) -> Iterator[tuple[Rig, Web]]:
    """A rig whose breakers stay closed, with one worker and one web process."""
    directory = tmp_path_factory.mktemp("failover")
    with rig(directory, module_database_url, valkey.url(), BREAKER_FAILURES=1000, MAX_STREAMS_PER_USER=100) as made:
        made.metrics_port = free_port()
        made.stack.worker(WORKER_METRICS_PORT=made.metrics_port)
        yield made, made.stack.web()


def ask(made: Rig, model: str, message: str = "Count") -> Generation:
    """The ended answer of a model."""
    return made.stack.finished(made.stack.start(message, model=model).generation.id)


def targets_of(row: Generation) -> list[tuple[str, str]]:
    return [(attempt["target"].partition("/")[0], attempt["outcome"]) for attempt in row.attempts]


def reasons_of(made: Rig, row: Generation) -> list[str]:
    events = [decode(entry.payload) for entry in made.stack.read(row.id)]
    return [event.reason for event in events if isinstance(event, Snapshot)]


@settings(max_examples=6, deadline=None)
@given(pair=st.sampled_from(PAIRS), place=st.integers(0, TOKENS + 8), policy=st.sampled_from(["continue", "restart"]))
def test_a_target_that_is_cut_anywhere_is_followed_by_the_next_one(
    deployed: tuple[Rig, Web], pair: tuple[str, str], place: int, policy: str
) -> None:
    made, web = deployed
    run(made, Case(*pair, min(place, TOKENS) if pair[0] == "openai" else place, policy), web.url)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("status=503", "upstream_unavailable"),
        ("status=429", "upstream_rate_limited"),
        ("status=408", "upstream_timeout"),
        ("status=409", "upstream_rejected"),
        ("status=529", "upstream_unavailable"),
        ("status=401", "upstream_unauthorized"),
        ("status=404", "upstream_rejected"),
        ("status=429&error_code=insufficient_quota", "upstream_quota"),
    ],
)
def test_before_the_first_token_the_next_target_answers_at_once(
    deployed: tuple[Rig, Web], fault: str, outcome: str
) -> None:
    made, _ = deployed
    refusing = f"fake?{fault}&retry_after={ASKED_SECONDS}"
    made.model(fault, ("a-openai", refusing), ("b-openai", "fake?tokens=5&rate=0"))
    row = ask(made, fault)
    assert targets_of(row) == [("a-openai", outcome), ("b-openai", "finished")]
    assert (row.status, row.epoch, reasons_of(made, row)) == ("completed", 1, ["start"])
    [refused], [answered] = (made.fakes[f"{side}-openai"].calls[-1:] for side in "ab")
    # Before another call of the first target, the answer would wait as long as that target asked for.
    assert answered.started - refused.ended < ASKED_SECONDS / 2


def test_a_request_that_is_at_fault_itself_goes_to_no_other_target(deployed: tuple[Rig, Web]) -> None:
    made, _ = deployed
    made.model("at fault", ("a-openai", "fake?status=400"), ("b-openai", "fake?tokens=6"))
    row = ask(made, "at fault")
    assert (row.status, targets_of(row)) == ("error", [("a-openai", "upstream_rejected")])
    assert not made.calls("b-openai", "fake?tokens=6")


def test_when_all_have_failed_they_are_tried_again_with_pauses_within_the_limit(deployed: tuple[Rig, Web]) -> None:
    made, _ = deployed
    names = ("fake?status=503&key=all", "fake?status=500&key=all")
    made.model("all fail", *zip(("a-openai", "b-openai"), names, strict=True))
    row = ask(made, "all fail")
    assert [target for target, _ in targets_of(row)] == ["a-openai", "b-openai", "a-openai", "b-openai", "a-openai"]
    first, second = (made.calls(f"{side}-openai", name) for side, name in zip("ab", names, strict=True))
    # The second target is called without a pause, as above.
    assert first[1].started - second[0].ended > 0.4


def test_when_no_breaker_admits_a_call_the_answer_waits_for_the_first_that_does(deployed: tuple[Rig, Web]) -> None:
    made, _ = deployed
    refusing = "fake?status=503&retry_after=1&times=1&tokens=5&rate=0"
    made.model("both closed off", ("a-openai", refusing), ("b-openai", refusing))
    row = ask(made, "both closed off")
    assert targets_of(row) == [
        ("a-openai", "upstream_unavailable"),
        ("b-openai", "upstream_unavailable"),
        ("a-openai", "finished"),
    ]
    first, probe = made.calls("a-openai", refusing)
    assert probe.started - first.ended > 0.9


def test_a_target_has_parameters_and_a_continuation_of_its_own(deployed: tuple[Rig, Web]) -> None:
    made, _ = deployed
    targets: list[dict[str, Any]] = [
        {"upstream": "a-openai", "name": "fake?tokens=20&rate=0&cut_after=9&key=own", "parameters": {"top_p": 0.1}},
        {
            "upstream": "b-openai",
            "name": "fake?tokens=20&key=own",
            "parameters": {"top_p": 0.2},
            "continuation": "none",
        },
    ]
    spec = {"targets": targets, "parameters": {"seed": 7}}
    made.stack.resources.model_admin.put("own", ModelSpec.model_validate(spec))
    row = ask(made, "own")
    assert targets_of(row)[1] == ("b-openai", "finished")
    bodies = [made.calls(target["upstream"], target["name"])[0].body for target in targets]
    assert [(body["top_p"], body["seed"]) for body in bodies] == [(0.1, 7), (0.2, 7)]
    # It cannot continue, so it begins again.
    text = made.stack.transcript(row.id).text
    assert len({call for call, _ in TOKEN.findall(text)}) == 1
    assert reasons_of(made, row) == ["start", "failover"]


@pytest.mark.parametrize(("fault", "value"), [("cut_after", 3), ("status", 503)])
def test_a_failover_behind_a_tool_call_keeps_the_call_and_does_not_repeat_it(
    deployed: tuple[Rig, Web], monkeypatch: pytest.MonkeyPatch, fault: str, value: int
) -> None:
    made, _ = deployed
    server = made.fakes["a-openai"].server
    begin = server._begin

    def fail_behind_results(request: Any, wanted: Any) -> Any:
        call, wish = begin(request, wanted)
        has_result = any(message["role"] == "tool" for message in call.body["messages"])
        return call, replace(wish, **{fault: value}) if has_result else wish

    monkeypatch.setattr(server, "_begin", fail_behind_results)
    call = json.dumps({"name": "word_count", "arguments": {"text": "one two"}})
    calling = f"fake?tokens=6&rate=0&tool_rounds=1&tool_call={quote(call)}&key={fault}"
    rest = f"fake?tokens=9&rate=0&key={fault}"
    made.model("tools", ("a-openai", calling), ("b-openai", rest), tools=["word_count"])
    row = ask(made, "tools")
    assert row.status == "completed", row.error
    assert [target for target, _ in targets_of(row)] == ["a-openai", "a-openai", "b-openai"]
    assert reasons_of(made, row) == ["start", "failover"]
    said = made.stack.transcript(row.id)
    [used] = said.tools.values()
    assert (used.tool, used.state) == ("word_count", "finished")
    [request] = made.calls("b-openai", rest)
    roles = [message["role"] for message in request.body["messages"]]
    assert roles[:3] == ["user", "assistant", "tool"]
    shown = 6 + (value if fault == "cut_after" else 0)
    assert len(TOKEN.findall(request.body["messages"][1]["content"])) == 6
    assert said.text.startswith(request.body["messages"][1]["content"])
    assert len(TOKEN.findall(said.text)) >= shown


def test_a_cancelled_answer_names_the_target_that_was_called(deployed: tuple[Rig, Web]) -> None:
    made, _ = deployed
    made.model("cancelled", ("a-openai", "fake?status=503"), ("b-openai", "fake?tokens=500&rate=20"))
    generation = made.stack.start("Count", model="cancelled").generation.id
    until(lambda: len(made.stack.log(generation)) > 5, what="some tokens")
    made.stack.resources.generations.cancel(made.stack.user, generation)
    row = made.stack.finished(generation)
    assert targets_of(row) == [("a-openai", "upstream_unavailable"), ("b-openai", "cancelled")]


def test_attempts_and_failovers_are_counted_by_target(deployed: tuple[Rig, Web]) -> None:
    made, _ = deployed
    first, second = "fake?status=500&key=counted", "fake?tokens=3&key=counted"
    made.model("counted", ("a-openai", first), ("b-openai", second))
    ask(made, "counted")
    ask(made, "counted")
    with urllib.request.urlopen(f"http://127.0.0.1:{made.metrics_port}/metrics", timeout=10) as response:
        page = response.read().decode()
    counted = [line for line in page.splitlines() if line.startswith("unbroken_") and "key=counted" in line]
    assert {line.replace(".0", "") for line in counted if "_total" in line} == {
        f'unbroken_attempts_total{{outcome="upstream_unavailable",target="a-openai/{first}"}} 2',
        f'unbroken_attempts_total{{outcome="finished",target="b-openai/{second}"}} 2',
        f'unbroken_failovers_total{{target="a-openai/{first}"}} 2',
    }


@pytest.fixture(scope="module")
def with_breakers(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, migrated_template: str, valkey: Valkey
) -> Iterator[tuple[Rig, list[Worker]]]:
    """Breakers that open after FEW failures, for OPEN_SECONDS, with two workers; a takeover takes six seconds."""
    short = {"LEASE_SECONDS": 6, "HEARTBEAT_SECONDS": 0.5, "BREAKER_FAILURES": FEW, "BREAKER_SECONDS": OPEN_SECONDS}
    for url in cloned_database(postgres, migrated_template):
        with rig(tmp_path_factory.mktemp("breakers"), url, valkey.url(), **short) as made:
            yield made, made.stack.workers(2)


def breaker_of(made: Rig, upstream: str) -> UpstreamStatus:
    """An upstream, as operators see it."""
    [found] = [one for one in made.stack.resources.upstream_statuses.every() if one.name == upstream]
    return found


def test_a_breaker_keeps_answers_of_all_workers_away_and_lets_one_probe_through(
    with_breakers: tuple[Rig, list[Worker]],
) -> None:
    made, _ = with_breakers
    cut = f"fake?tokens=30&rate=0&cut_after=10&linger=0.05&times={FEW}"
    made.model("guarded", ("a-openai", cut), ("b-anthropic", "fake?tokens=30"))
    for _ in range(FEW):
        assert targets_of(ask(made, "guarded", "the same"))[0][0] == "a-openai"
    began = time.monotonic()
    with ThreadPoolExecutor(10) as threads:
        rows = list(threads.map(lambda _: ask(made, "guarded", "the same"), range(20)))
    if time.monotonic() - began < OPEN_SECONDS:
        assert {target for row in rows for target, _ in targets_of(row)} == {"b-anthropic"}
        assert len(made.calls("a-openai", cut)) == FEW
    seen = breaker_of(made, "a-openai")
    assert (seen.kind, seen.models, seen.failures) == ("openai", ["guarded"], FEW)
    until(lambda: breaker_of(made, "a-openai").breaker == "half_open", what="the end of the opening")
    # The target is well again, but slow: while the probe runs, every other answer stays away.
    message = "slow " + json.dumps({"fake": {"rate": 15, "cut_after": None}})
    slow = made.stack.start(message, model="guarded").generation.id
    until(lambda: len(made.stack.log(slow)) > 3, what="the probe's first tokens")
    before = len(made.calls("a-openai", cut))
    assert {target for _ in range(5) for target, _ in targets_of(ask(made, "guarded", "the same"))} == {"b-anthropic"}
    assert len(made.calls("a-openai", cut)) == before
    assert targets_of(made.stack.finished(slow)) == [("a-openai", "finished")]
    assert targets_of(ask(made, "guarded", "the same")) == [("a-openai", "finished")]
    assert breaker_of(made, "a-openai").breaker == "closed"


def worker_of(made: Rig, workers: list[Worker], generation: str) -> Worker:
    """The worker that has an answer; it is taken out of ``workers``."""
    with made.stack.resources.database.system() as tx:
        row = fetch_one(tx, "SELECT worker FROM generations WHERE id = :id", id=generation)
    found = next(worker for worker in workers if row is not None and worker.name == row.worker)
    workers.remove(found)
    return found


def test_a_takeover_stays_with_the_target_of_the_lost_worker(with_breakers: tuple[Rig, list[Worker]]) -> None:
    made, workers = with_breakers
    # The first call of the second target stays in the middle until its worker is killed.
    refusing, slow = "fake?status=503", "fake?tokens=60&rate=20&stall_after=30&once=true"
    made.model("kept", ("a-openai", refusing), ("b-openai", slow))
    generation = made.stack.start("Count", model="kept").generation.id
    until(lambda: len(made.stack.log(generation)) > 15, what="some tokens")
    worker_of(made, workers, generation).kill()
    ended = made.stack.finished(generation)
    assert ended.status == "completed"
    refused = ("a-openai", "upstream_unavailable")
    assert targets_of(ended) == [refused, ("b-openai", "lost"), ("b-openai", "finished")]
    assert reasons_of(made, ended) == ["start", "continue"]
    assert len(made.calls("a-openai", refusing)) == 1
    assert [int(index) for _, index in TOKEN.findall(made.stack.transcript(generation).text)] == list(range(60))


def test_a_call_behind_a_failover_that_is_given_back_is_recorded(with_breakers: tuple[Rig, list[Worker]]) -> None:
    made, workers = with_breakers
    slow = "fake?tokens=60&rate=20&stall_after=30&once=true&key=back"
    made.model("given back", ("a-gemini", "fake?status=503"), ("b-openai", slow))
    workers.append(made.stack.worker())
    generation = made.stack.start("Count", model="given back").generation.id
    until(lambda: len(made.stack.log(generation)) > 5, what="some tokens")
    worker_of(made, workers, generation).terminate()
    refused = ("a-gemini", "upstream_unavailable")
    assert targets_of(made.stack.finished(generation)) == [refused, ("b-openai", "released"), ("b-openai", "finished")]
