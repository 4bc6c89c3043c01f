"""A worker counts the life of an answer: claims, waits, late renewals, doorbells, sweeps, takeovers."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import urllib.request
from dataclasses import replace
from time import monotonic, sleep

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.domain.lease import Claimed, Lease
from dev.server import free_port
from tests.deploy.test_alert_rules import needs_promtool
from tests.stack import Stack, Web, Worker, until
from worker.generation_trace import GenerationTraces
from worker.run_state import RunState

STREAMS = 12
# Six seconds of an answer. The built-in model keeps to the clock: behind a pause it says at once what was due in it.
SLOW = {"tokens": 60, "rate": 10}
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def exposition(url: str) -> str:
    with OPENER.open(f"{url}/metrics", timeout=20) as response:
        return str(response.read().decode())


def numbers(url: str) -> dict[str, float]:
    """The values of an exposition by series: the name, then the labels in order."""
    return {
        " ".join((sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items())))): sample.value
        for family in text_string_to_metric_families(exposition(url))
        for sample in family.samples
    }


class Counted:
    """The series of a worker that have changed since ``mark``."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.mark()

    def mark(self) -> None:
        self.before = numbers(self.url)

    def of(self, series: str) -> float:
        return numbers(self.url)[series] - self.before[series]


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def swept(module_stack: Stack) -> str:
    """A generation whose doorbell was lost before the first worker started."""
    made = module_stack.start(model="offline-fast").generation.id
    client, doorbells = module_stack.resources.redis, f"{module_stack.namespace}:generations"
    until(lambda: client.llen(doorbells), 60)
    client.delete(doorbells)
    return made


@pytest.fixture(scope="module")
def worker(module_stack: Stack, port: int, swept: str) -> Worker:
    return module_stack.worker(7, WORKER_METRICS_PORT=port)


@pytest.fixture
def counted(worker: Worker, port: int) -> Counted:
    return Counted(port)


def test_a_generation_without_a_doorbell_is_begun_by_a_sweep(module_stack: Stack, swept: str, counted: Counted) -> None:
    assert module_stack.finished(swept).status == "completed"
    assert numbers(counted.url)["unbroken_swept_generations_total"] == 1


def test_an_answer_counts_its_claim_its_first_token_and_its_title(module_stack: Stack, counted: Counted) -> None:
    assert numbers(counted.url)["unbroken_worker_slots"] == 7
    made = module_stack.start(model="offline", parameters=SLOW).generation.id
    until(lambda: counted.of("unbroken_first_token_seconds_count") == 1, 60, "the first token, before the end")
    assert module_stack.generation(made).final is None
    until(lambda: numbers(counted.url)["unbroken_worker_running"] == 1, 60)
    assert module_stack.finished(made).status == "completed"
    until(lambda: counted.of("unbroken_title_seconds_count") == 1, 60, "the title")
    assert counted.of("unbroken_claims_total epoch=first") == 1
    assert counted.of("unbroken_claims_total epoch=later") == 0
    assert counted.of("unbroken_claim_seconds_count") == 1
    assert counted.of("unbroken_claim_seconds_sum") <= counted.of("unbroken_first_token_seconds_sum")
    until(lambda: numbers(counted.url)["unbroken_worker_running"] == 0, 60)


def test_a_worker_that_stood_still_counts_a_late_renewal(module_stack: Stack, worker: Worker, counted: Counted) -> None:
    made = module_stack.start(model="offline", parameters=SLOW).generation.id
    until(lambda: module_stack.generation(made).status == "running", 60)
    worker.signal(signal.SIGSTOP)
    sleep(2.2)  # the fault itself: more than two heartbeats of a second, less than the lease of five
    worker.signal(signal.SIGCONT)
    assert module_stack.finished(made).status == "completed"
    assert counted.of("unbroken_lease_renewals_late_total") + counted.of("unbroken_fenced_total") >= 1


def test_the_answers_of_a_killed_worker_are_later_claims(module_stack: Stack, worker: Worker, counted: Counted) -> None:
    other = module_stack.worker()
    worker.signal(signal.SIGSTOP)
    made = module_stack.start(model="offline", parameters=SLOW).generation.id
    until(lambda: module_stack.generation(made).status == "running", 60)
    other.kill()
    worker.signal(signal.SIGCONT)
    assert module_stack.finished(made).status == "completed"
    assert counted.of("unbroken_claims_total epoch=later") == 1
    assert counted.of("unbroken_takeovers_total") == 1


@pytest.fixture(scope="module")
def web(module_stack: Stack, worker: Worker) -> Web:
    """Two web processes that share a port and a directory of metrics."""
    directory = module_stack.directory / "metrics"
    directory.mkdir()
    return module_stack.web(workers=2, PROMETHEUS_MULTIPROC_DIR=str(directory))


def test_a_scrape_shows_the_relays_of_both_processes_whichever_serves_it(module_stack: Stack, web: Web) -> None:
    made = module_stack.start(model="offline-fast").generation.id
    module_stack.finished(made)
    headers = {"Authorization": f"Bearer {module_stack.token()}"}
    for _ in range(STREAMS):
        request = urllib.request.Request(f"{web.url}/api/v1/generations/{made}/stream", headers=headers)
        with OPENER.open(request, timeout=30) as response:
            assert b'"type":"done"' in response.read()

    def is_whole() -> bool:
        pages = [numbers(web.url) for _ in range(6)]  # from either process
        opened = {page["unbroken_relay_streams_opened_total"] for page in pages}
        replays = {page["unbroken_relay_replays_total"] for page in pages}
        connects = {page["unbroken_stream_connects_total outcome=opened position=start"] for page in pages}
        return opened == replays == connects == {float(STREAMS)}

    until(is_whole, 60, "the counts of both processes in every scrape")
    until(lambda: numbers(web.url)["unbroken_relay_delivery_seconds_count"] > 0, 60, "a canary")
    until(lambda: numbers(web.url)["unbroken_relay_silent_seconds"] < 10, 60, "a subscription that is heard")
    assert numbers(web.url)["unbroken_relay_streams_behind"] == 0


@needs_promtool
def test_prometheus_has_nothing_to_say_against_the_form(web: Web, counted: Counted) -> None:
    for page in (exposition(counted.url), exposition(web.url)):
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False
        )
        assert [line for line in checked.stderr.splitlines() if line.startswith("unbroken_")] == []
        assert checked.returncode in (0, 3), checked.stderr  # 3: a remark on a metric of a library


def test_the_age_of_an_answer_is_counted_from_its_acceptance_in_every_revision() -> None:
    """``age`` of a claim is that of its own moment: a second revision counted the time of the first one twice."""

    async def ages() -> tuple[float, float]:
        claimed = Claimed(Lease("g", 1), "u", "c", "m", "q", "model", {}, [], 1, False, None, 10.0, None)
        run = RunState(
            claimed, GenerationTraces("w", ()).claimed(claimed, 0), asked_at=monotonic() - 30, hesitated=False
        )
        first = run.age
        run.advance(replace(claimed, lease=Lease("g", 2), age=40.0), monotonic())
        return first, run.age

    first, second = asyncio.run(ages())
    assert 40 <= first < 50
    assert 40 <= second < 50
