"""The soak's judgement: flat series pass, growth beyond a law is found, also inside processes that deploys end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.history import Connection, Frame, Reading
from tests.soak import report
from tests.soak.__main__ import pace
from tests.soak.clients import latencies
from tests.soak.deployment import Size
from tests.soak.plants import PLANTS, leaks
from tests.soak.sampling import Point, Samples, bad
from tests.soak.series import Finding, findings, fitted, laws, quantiles

SIZE = Size(readers=100, generations=20, seconds=600, tokens=100, rate=5, every=200)


def samples(name: str, value: Callable[[float], float], answers: float = 1.0) -> Samples:
    """A run of 600 s with a sample every 5 s. Every 100 s a new process follows. ``answers`` are begun each second."""
    made = Samples(began=0.0)
    for at in map(float, range(0, 600, 5)):
        made.sent.append((at, int(at * answers)))
        living = name.startswith(("descriptors", "memory"))
        life, age = (f"web {at // 100:g}", at % 100) if living else ("", 0.0)
        made.add(name, Point(at, value(age if living else at), life, age))
    return made


def judged(name: str, value: Callable[[float], float]) -> Finding:
    made = samples(name, value)
    [finding] = findings(made.series, made, SIZE, warm=20)
    return finding


@pytest.mark.parametrize(
    ("name", "value", "flat"),
    [
        ("descriptors of web", lambda age: 40 + age % 10 / 5, True),
        # 16 more within each life of a process, which every deploy takes away.
        ("descriptors of web", lambda age: 40 + age / 5, False),
        ("memory of worker", lambda age: 90 + age * 0.02, True),
        ("memory of worker", lambda age: 90 + age * 0.3, False),
        # The heap of a young process fills within its warming.
        ("memory of streams", lambda age: 60 + min(age, 20) * 2, True),
        ("rows of messages", lambda at: 10 + 2 * at, True),
        ("rows of messages", lambda at: 10 + 3 * at, False),
        ("rows of service_minutes", lambda at: 60 + at // 60, True),
        ("rows of service_minutes", lambda at: 60 + at // 20, False),
        ("rows of workers", lambda at: 3.0, True),
        # Two workers are replaced by each deploy, three times in ten minutes.
        ("rows of workers", lambda at: 3 + at // 200 * 2, True),
        ("rows of workers", lambda at: 3 + at / 10, False),
        ("connections of PostgreSQL", lambda at: 30 + at % 7, True),
        ("connections of PostgreSQL", lambda at: 30 + at / 10, False),
        ("rows of feed_events", lambda at: 7 + 5 * at, True),
        ("rows of feed_events", lambda at: 7 + 6 * at, False),
        ("redis keys", lambda at: 50 + 3 * at, True),
        ("redis keys", lambda at: 50 + 4 * at, False),
        ("errors", lambda at: 0.0, True),
        ("errors", lambda at: float(at > 300), False),
    ],
)
def test_a_series_may_grow_by_what_its_answers_add(name: str, value: Callable[[float], float], flat: bool) -> None:
    finding = judged(name, value)
    assert finding.flat is flat, finding


def test_a_line_is_fitted_within_each_life_and_not_across_them() -> None:
    lives = [[Point(at + start, base + at * 2.0) for at in range(10)] for start, base in ((0, 0.0), (100, -500.0))]
    assert fitted(lives) == 2.0
    assert fitted([[Point(0.0, 1.0)]]) == 0.0


def test_deploys_do_not_move_the_line_of_a_latency() -> None:
    def spiked(later: float) -> list[Finding]:
        events = [(at + 0.5, 0.02 + (1.0 if at % 100 < 5 else later * at)) for at in range(600) for _ in range(3)]
        made = samples("errors", lambda at: 0.0)
        made.deploys = [(float(at), at + 10.0) for at in range(100, 600, 100)]
        return findings(made.series | quantiles(events, made), made, SIZE, warm=20)

    assert all(finding.flat for finding in spiked(0.0))
    assert [finding.name for finding in spiked(0.001) if not finding.flat] == ["latency p50", "latency p99"]


def test_connections_are_judged_outside_deploys() -> None:
    made = samples("connections of PostgreSQL", lambda at: 30 + max(0.0, at - 300))
    [finding] = findings(made.series, made, SIZE, warm=20)
    assert not finding.flat
    made.deploys = [(300.0, 600.0)]
    [finding] = findings(made.series, made, SIZE, warm=20)
    assert finding.flat


def test_latencies_are_those_of_events_that_were_published_to_a_connected_reader() -> None:
    frames = [Frame(11.0, "1-1", b""), Frame(12.5, "1-2", b""), Frame(12.6, "1-3", b""), Frame(13.0, None, b"")]
    reading = Reading("r", "stable", "g", "alice", [Connection(10.0, "0-0", 200, frames)])
    published = {("g", "1-1"): 9.0, ("g", "1-2"): 12.0, ("other", "1-3"): 12.0}
    assert [*latencies(reading, published)] == [(12.0, 0.5)]


def test_lines_of_errors_are_told_from_warnings() -> None:
    assert bad('{"event":"a fault of the service","level":"error"}')
    assert bad("Traceback (most recent call last):")
    assert not bad('{"event":"chore postponed","level":"warning"}')


@pytest.mark.parametrize("seconds", [90.0, 300.0, 3600.0])
def test_each_process_of_a_run_is_sampled_often_after_its_warming(seconds: float) -> None:
    deploys, period, warm = pace(seconds)
    assert seconds / deploys >= 3
    assert (deploys - warm) / period >= 20


def test_every_series_has_a_law_with_a_reason() -> None:
    assert all(law.reason for law in laws(SIZE))


@pytest.mark.parametrize("name", PLANTS)
def test_each_plant_fits_the_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.relay.connections import Connections

    adopted = []
    monkeypatch.setattr(Connections, "adopt", lambda *arguments: adopted.append(arguments))
    monkeypatch.setattr(leaks, "_kept", [])
    monkeypatch.setenv("SOAK_PLANT", name)
    leaks.plant()
    Connections.adopt(None, "connection", "type")  # type: ignore[arg-type]
    assert (len(adopted), len(leaks._kept)) == (1, 1)


def test_the_report_has_a_plot_of_each_series_and_names_the_red_ones(tmp_path: Path) -> None:
    made = samples("redis keys", lambda at: 50 + 6 * at)
    found = findings(made.series, made, SIZE, warm=20)
    result = {
        "verdict": "failed", "size": {"readers": 100}, "answers": 5, "readings": 25,
        "deploys": [(100.0, 110.0)], "violations": ["order: <b>"], "errors": [],
    }  # fmt: skip
    report.write(tmp_path, result, made.series, found, 0.0)
    [line] = json.loads((tmp_path / "report.json").read_text())["findings"]
    assert (line["name"], line["flat"]) == ("redis keys", False)
    plot = (tmp_path / "plot.svg").read_text()
    assert "redis keys" in plot
    assert 'class="grows"' in plot
    assert "order: &lt;b&gt;" in (tmp_path / "index.html").read_text()
