"""Two targets of different kinds: the second provider, faults of the first one, and the rules of failover.

The first target speaks OpenAI's protocol and is troubled. The second one speaks Anthropic's and never fails by itself.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dev.process import CannotRun, Program
from tests.chaos.evidence import TAG, Call, Evidence
from tests.chaos.history import Fault
from tests.chaos.rules import Violation, rule

if TYPE_CHECKING:
    from tests.chaos.faults import Strike

# The model whose targets are both, in this order.
FALLBACK = "fake-fallback"
FIRST, SECOND = "openai", "second"
# Numbers of the second provider's calls begin here: tokens name their call.
FIRST_NUMBER = 1_000_000
# The deadlines of a provider in this build, in seconds, and the settings of the service.
SILENCE = 6.0
SETTINGS = {
    "TOKEN_TIMEOUT": str(SILENCE),
    "FIRST_TOKEN_TIMEOUT": str(SILENCE),
    "UPSTREAMS": SECOND,
    "UPSTREAM_SECOND_KIND": "anthropic",
    "UPSTREAM_SECOND_API_KEY": "key",
}
TARGETS = [{"upstream": FIRST, "name": "fake"}, {"upstream": SECOND, "name": "fake"}]
KINDS = {"first target cut", "first target refuses", "first target slow"}
# Failures that a breaker takes until it opens (BREAKER_FAILURES), and seconds until each worker of a loaded machine has
# seen them. The calls that the fault breaks off are failures, too.
FAILURES = 3
OPENING = 4.0
# Messages that are sent while the breaker has to be open: more than a breaker that never opens can be excused for.
MEANWHILE = 2 * FAILURES
# Seconds in which they are answered, on a loaded machine too.
ANSWERED = 60.0
# Seconds between the end of a fault and the first event of the revision that it leads to.
AFTER = SILENCE + 20.0
# The outcomes of calls that a worker has left.
_LEFT = frozenset({"lost", "released"})
# A breaker is lost with Redis, and each worker has its own while Redis is away.
_FORGETS = re.compile("redis|network|black hole|replies|killed|frozen")


def program(directory: Path) -> Program:
    """The second provider."""
    argv = (sys.executable, "-m", "tests.fakes.anthropic", "--port", "0", "--first-number", str(FIRST_NUMBER))
    return Program("second", argv, directory / "second.out")


def settings(port: int) -> dict[str, str]:
    """The variables of a deployment whose second provider has this port."""
    return SETTINGS | {"UPSTREAM_SECOND_BASE_URL": f"http://127.0.0.1:{port}"}


def port_of(directory: Path) -> int:
    """The port that the second provider has printed. Raises CannotRun."""
    log, until = directory / "second.out", time.monotonic() + 60
    while not (log.exists() and (said := re.search(r"port (\d+)\n", log.read_text()))):
        if time.monotonic() > until:
            raise CannotRun("the second provider is not ready")
        time.sleep(0.05)
    return int(said[1])


def calls(port: int, run: int) -> list[Call]:
    """The second provider's calls about this run's messages."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"http://127.0.0.1:{port}/fake/calls", timeout=30
    ) as reply:
        records: list[dict[str, Any]] = json.load(reply)
    found = []
    for record in records:
        tags = TAG.findall(json.dumps(record["body"]["messages"]))
        call = Call(record["number"], tags[0] if tags else None, record["started"], record["first_index"])
        call.tokens_sent, call.end = record["tokens_sent"], record["end"]
        found.append(call)
    return [call for call in found if call.tag is None or call.tag.startswith(f"message-{run}-")]


# --- faults -------------------------------------------------------------------------------------------------------


async def cut(strike: Strike) -> None:
    """Break off every call of the first target."""
    await strike.answering()
    with strike.rig.during("first target cut"):
        for proxy in strike.rig.hops(".provider"):
            proxy.cut()


async def refuse(strike: Strike) -> None:
    """Break off every call of the first target, and refuse connections to it.

    Messages are sent while the breaker has to be open, and the fault lasts until each of them is being answered.
    """
    await strike.answering()
    hops = strike.rig.hops(".provider")
    with strike.rig.during("first target refuses"):
        for proxy in hops:
            proxy.refuse = True
            proxy.cut()
        await asyncio.sleep(OPENING + 0.5)
        known = {asked.tag for asked in strike.load.history.asked}
        strike.load.ask(MEANWHILE)
        await strike.within(ANSWERED, lambda: _answered(strike, known) >= MEANWHILE)
        # The rule counts answers that were accepted a second before the end.
        await asyncio.sleep(1.5)
        for proxy in hops:
            proxy.heal()
            proxy.refuse = False


def _answered(strike: Strike, known: set[str]) -> int:
    """The number of messages, beside the known ones, of whose answers a reader has received text."""
    asked = [one.generation for one in strike.load.history.asked if one.tag not in known and one.generation]
    return sum(strike.load.newest(generation) > (1, 0) for generation in asked)


async def slow(strike: Strike, seconds: float) -> None:
    """Let the first target fall silent; its connections stay open."""
    await strike.answering()
    hops = strike.rig.hops(".provider")
    with strike.rig.during("first target slow", f"{seconds:g} s"):
        for proxy in hops:
            proxy.stall()
        await asyncio.sleep(seconds)
        for proxy in hops:
            proxy.heal()


# --- rules --------------------------------------------------------------------------------------------------------


@rule
def failovers(evidence: Evidence) -> Iterator[Violation]:
    """A revision with the reason failover is a change of the target, and needs a fault of the first one.

    A call that failed leads to it, or a takeover that finds the breaker of the lost call's target open.
    """
    for generation, row in evidence.dump.generations.items():
        seen = _failovers(evidence, generation)
        made = _attempts(row)
        # A target is not stored while PostgreSQL is away: a call that is lost then has the name of another.
        changes = sum(
            one["outcome"] in _LEFT or one.get("target") != after.get("target") for one, after in pairwise(made)
        )
        if len(seen) > changes:
            yield Violation("failovers", generation, f"{len(seen)} failovers, but the calls were {made}")
        for at in seen:
            if not any(_touches(fault, at, evidence) for fault in _troubles(evidence)):
                yield Violation("failovers", generation, f"a failover at {at:.1f} without a fault of the first target")
        if _is_spared(evidence, generation) and row["status"] == "error":
            yield Violation("failovers", generation, f"an error although the second target answers: {row['error']}")


@rule
def usage_of_all(evidence: Evidence) -> Iterator[Violation]:
    """The usage of an ended answer is that of all its calls, and each shown call has one."""
    for generation, row in evidence.dump.generations.items():
        if not _is_spared(evidence, generation) or row["status"] != "completed":
            continue
        made = _attempts(row)
        if missing := [one for one in made if one["visible"] and not one["usage"]]:
            yield Violation("usage_of_all", generation, f"calls without usage: {missing}")
        total = sum(one["usage"]["output_tokens"] for one in made if one["usage"])
        told = (row["usage"] or {}).get("output_tokens", 0)
        if told != total:
            yield Violation("usage_of_all", generation, f"{told} output tokens, of the calls {total}: {made}")


@rule
def breakers(evidence: Evidence) -> Iterator[Violation]:
    """While the first target refuses connections, its breaker keeps new answers off it."""
    for fault, asked in _refused(evidence):
        rows = [evidence.dump.generations[one] for one in asked]
        failed = [one for row in rows for one in _attempts(row) if _is_first(one) and _has_failed(one)]
        forgotten = sum(
            1
            for other in evidence.history.faults
            if _FORGETS.search(other.kind) and other.at <= (fault.ended or fault.at) + 1
        )
        most = FAILURES * (1 + forgotten)
        if len(failed) > most:
            what = f"{len(failed)} calls of {len(rows)} new answers failed at the first target, {most} are explained"
            yield Violation("breakers", "the first target", what)


def coverage(evidence: Evidence) -> dict[str, int]:
    """Failovers, and answers that began at the second target because a breaker was open."""
    kept_off = [
        one
        for _, asked in _refused(evidence)
        for one in asked
        if (made := _attempts(evidence.dump.generations[one])) and not _is_first(made[0])
    ]
    seen = [at for one in evidence.dump.generations for at in _failovers(evidence, one)]
    return {"failover": len(seen), "breaker": len(kept_off)}


def _troubles(evidence: Evidence) -> list[Fault]:
    return [fault for fault in evidence.history.faults if fault.kind in KINDS]


def _touches(fault: Fault, at: float, evidence: Evidence) -> bool:
    return fault.at - 1 <= at <= (fault.ended or evidence.history.healed or at) + AFTER


def _failovers(evidence: Evidence, generation: str) -> list[float]:
    """The times at which readers first saw each revision with the reason failover."""
    ids = [
        identity
        for identity, payload in evidence.dump.archives.get(generation, [])
        if json.loads(payload).get("reason") == "failover"
    ]
    times: dict[str, float] = {}
    for reading in evidence.history.readings:
        if reading.generation == generation:
            for frame in reading.frames():
                if frame.id in ids:
                    times[frame.id] = min(frame.at, times.get(frame.id, frame.at))
    return list(times.values())


def _refused(evidence: Evidence) -> Iterator[tuple[Fault, list[str]]]:
    """Each refusal of the first target, with the answers that were accepted while its breaker had to be open."""
    for fault in evidence.history.faults:
        if fault.kind == "first target refuses" and fault.ended is not None:
            yield (
                fault,
                [
                    asked.generation
                    for asked in evidence.history.asked
                    if asked.generation in evidence.dump.generations
                    and asked.replies
                    and fault.at + OPENING < asked.replies[0].at < fault.ended - 1
                ],
            )


def _is_spared(evidence: Evidence, generation: str) -> bool:
    """True for an answer of the model with two targets."""
    made = _attempts(evidence.dump.generations[generation])
    return any((one.get("target") or "").startswith(f"{SECOND}/") for one in made)


def _attempts(row: dict[str, Any]) -> list[dict[str, Any]]:
    return row.get("attempts") or []


def _is_first(attempt: dict[str, Any]) -> bool:
    return bool((attempt.get("target") or "").startswith(f"{FIRST}/"))


def _has_failed(attempt: dict[str, Any]) -> bool:
    return attempt["outcome"] not in _LEFT | {"finished", "cancelled"}
