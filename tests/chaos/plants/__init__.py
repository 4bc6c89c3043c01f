"""Bugs built in on purpose, each with the scenario that shows it and the rules of the checker that must find it.
The rig starts ``tests.chaos.plants.worker`` and ``tests.chaos.plants.web`` instead of the real doors; they plant the
bug named by CHAOS_PLANT (bugs.py) and then load the real application. Production code has no switch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from tests.chaos import faults, scenarios, targets
from tests.chaos.evidence import Allowed
from tests.chaos.faults import Strike
from tests.chaos.load import Plan
from tests.chaos.rig import Build
from tests.chaos.scenarios import Scenario

# Tokens of an answer that outlives a freeze: the frozen worker still has tokens to send afterwards.
LONG = 450
# At least one of these rules sees any damage to an answer.
TEXT = ("order", "one_meaning", "archived", "rewinds", "final_text", "provenance", "polls")


@dataclass(frozen=True)
class Plant:
    """A bug, a scenario it cannot survive, and the rules one of which must be broken."""

    what: str
    scenario: Scenario
    rules: tuple[str, ...]


def _short(
    name: str, strike: Callable[[Strike], Awaitable[None]], settings: dict[str, str] | None = None, **plan: object
) -> Scenario:
    wanted = {"generations": 6, "tokens": 200, "cancels": 0.0, **plan}
    allowed, build = Allowed(footprint=False), Build(settings=settings or {})
    return Scenario(100, name, "", strike, Plan(**wanted), build, allowed, patience=15)  # type: ignore[arg-type]


async def _zombie(strike: Strike) -> None:
    await strike.under_way(0.15)
    await faults.freeze_worker(strike, strike.lease + 3)


async def _overtaken_zombie(strike: Strike) -> None:
    await strike.under_way(0.02)
    # A worker that opens an existing revision must pass the revision's end before a reader sees its tokens.
    await faults.freeze_worker(strike, strike.lease, overtaken=10)


async def _zombie_then_loss(strike: Strike) -> None:
    """A zombie writes once more; then log and owner are lost, and only checkpoints are left."""
    await strike.under_way(0.1)
    await faults.freeze_worker(strike, strike.lease + 3)
    # The time of some heartbeats; one of them saves the zombie's text.
    await asyncio.sleep(4)
    await faults.flush_redis(strike)
    for worker in strike.rig.workers:
        await faults.end_worker(strike, worker)
    await asyncio.sleep(0.5)


async def _mended_log_then_death(strike: Strike) -> None:
    """A worker dies after the log was lost and rebuilt. The text of the rebuilt log may not be taken back."""
    await strike.under_way(0.05)
    await faults.kill_redis(strike, 0.2, 20_000)
    await asyncio.sleep(12)
    await faults.kill_worker(strike)
    await strike.later(4, 6)
    await faults.kill_worker(strike)


async def _refusal(strike: Strike) -> None:
    await strike.under_way(0.05)
    await targets.refuse(strike)


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
    "log-not-read": Plant(
        "a takeover does not look into Redis",
        # Workers checkpoint seldom, so that much text is in the log alone.
        _short("mended log, then death", _mended_log_then_death, {"CHECKPOINT_SECONDS": "3"}, tokens=LONG),
        ("rewinds",),
    ),
    "cancel-not-stored": Plant(
        "a cancel is known only to the process that was asked",
        _short("cancels", scenarios.calm, cancels=1.0, cancel_within=(1.0, 4.0)),
        ("cancels",),
    ),
    "breaker-stays-closed": Plant(
        "failures of a target are not counted",
        replace(
            _short(
                "first target refuses",
                _refusal,
                generations=8,
                cancels=0.0,
                models=lambda i: targets.FALLBACK,
            ),
            build=Build(two_targets=True),
        ),
        ("breakers",),
    ),
}
