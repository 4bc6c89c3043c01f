"""Bugs built in on purpose: for each, where it shows, and the rules of the checker that must find it.

The rig starts ``tests.chaos.plants.worker`` and ``tests.chaos.plants.web`` instead of the real doors; they plant the
bug named by CHAOS_PLANT (bugs.py) and then load the real application. Production code has no switch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos import faults, scenarios
from tests.chaos.evidence import Allowed
from tests.chaos.faults import Strike
from tests.chaos.load import Plan
from tests.chaos.scenarios import Scenario

# Tokens of an answer that outlives a freeze: whoever was frozen still has something to say then.
LONG = 450
# Whatever the bug does to an answer, one of these sees it.
TEXT = ("order", "one_meaning", "archived", "rewinds", "final_text", "provenance", "polls")


@dataclass(frozen=True)
class Plant:
    """A bug, a scenario it cannot survive, and the rules one of which must be broken."""

    what: str
    scenario: Scenario
    rules: tuple[str, ...]


def _short(name: str, strike: Callable[[Strike], Awaitable[None]], **plan: object) -> Scenario:
    settings = {"generations": 6, "tokens": 200, "cancels": 0.0, **plan}
    allowed = Allowed(footprint=False)
    return Scenario(100, name, "", strike, plan=Plan(**settings), allowed=allowed, patience=15)  # type: ignore[arg-type]


async def _zombie(strike: Strike) -> None:
    await strike.under_way(0.15)
    await faults.freeze_worker(strike, strike.lease + 3)


async def _overtaken_zombie(strike: Strike) -> None:
    await strike.under_way(0.02)
    # Who begins a revision that is there already has to come past its end before anybody sees anything.
    await faults.freeze_worker(strike, strike.lease, overtaken=8)


async def _zombie_then_loss(strike: Strike) -> None:
    """A zombie writes once more; then log and owner are lost, and only checkpoints are left."""
    await strike.under_way(0.1)
    await faults.freeze_worker(strike, strike.lease + 3)
    # Some heartbeats: one of them saves what the zombie has.
    await asyncio.sleep(4)
    await faults.flush_redis(strike)
    for worker in strike.rig.workers:
        strike.rig.note("worker killed", worker.name)
        worker.kill()
    await asyncio.sleep(0.5)


async def _lost_replies(strike: Strike) -> None:
    await faults.lose_replies(strike, 10, 0.1, strike.rig.hops(".redis"))


PLANTS: dict[str, Plant] = {
    "no-fence": Plant("appends of a replaced worker are taken", _short("zombie", _zombie, tokens=LONG), TEXT),
    "automatic-ids": Plant("the log numbers what it is given", _short("lost replies", _lost_replies), TEXT),
    "done-before-commit": Plant("the end is shown first", _short("calm", scenarios.calm, tokens=60), ("commit_first",)),
    "no-new-epoch": Plant(
        "two owners write one revision", _short("overtaken zombie", _overtaken_zombie, tokens=LONG), TEXT
    ),
    "checkpoint-without-epoch": Plant(
        "a replaced worker's text is saved as its successor's",
        _short("zombie, then loss", _zombie_then_loss, tokens=LONG),
        ("one_meaning", "final_text", "provenance", "polls"),
    ),
    "cancel-not-stored": Plant(
        "a cancel is known only to the process that was asked",
        _short("cancels", scenarios.calm, cancels=1.0, cancel_within=(1.0, 4.0)),
        ("cancels",),
    ),
}
