"""The excuses of the fault log. Everything beyond the promise needs faults that explain it, in time and in place.
Text is taken back only where the end of the log and the owner of the answer were lost together; a further call of the
provider, and an error, need a fault that ended the call before. A fault lasts from ``at`` to ``ended``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.chaos.evidence import Evidence
from tests.chaos.history import Asked, Fault

# The end of the log vanishes, or no process can read it.
LOG_LOST = {"redis killed", "redis flushed", "redis shut down", "redis frozen", "redis disk full"}
# The owner of an answer is gone; the fault names the process and the answers.
OWNER_LOST = {"worker killed", "worker stopped", "worker terminated"}
# Any worker may be unable to prove its lease.
LEASES_LOST = {"postgres stopped", "postgres frozen", "postgres locked", "postgres disk full", "backends terminated"}
# The faults act on the hops that they name.
NETWORK = {"connections cut", "replies lost", "black hole", "bad cable"}
# A provider receives what was sent to it when this fault ends.
HOLDS_BACK = "first target slow"
PROVIDER = {"provider cut", "first target cut", "first target refuses", "first target slow"}
# Seconds after a fault in which processes connect to the store again, with a back-off.
SETTLING = 6.0
# Seconds between the end of a lease and the first event of the next owner: sweeps, delayed takeovers, waits for Redis.
PICKING_UP = 12.0
# Seconds between the record of a fault and its effect, at its begin and at its end.
BLUR = 1.0
# The longest request of a client, in seconds.
REQUEST = 10.0
# Fields of a fake behaviour that are provider troubles.
TROUBLES = {
    *("status", "cut_after", "stall_after", "error_after", "garbage_after", "no_finish", "cut_at_end"),
    *("nul_at", "surrogate_at", "bad_utf8_at", "split_pair_at", "split_utf8", "drip_bytes_per_s"),
}
# The number of retries after an error of the provider.
RETRIES = 3


@dataclass
class Excuses:
    """The fault log of one run, queried for one answer at a time."""

    evidence: Evidence
    _cached: dict[tuple[Any, ...], str | None] = field(default_factory=dict)

    # --- the first time that an event was seen, by any client

    @cached_property
    def seen(self) -> dict[tuple[str, str], float]:
        """The first time that each event was shown to a reader or a poller, by (generation, id)."""
        first: dict[tuple[str, str], float] = {}
        for generation, identity, at in self._shown():
            known = first.get((generation, identity))
            first[generation, identity] = at if known is None else min(known, at)
        return first

    def _shown(self) -> Iterator[tuple[str, str, float]]:
        for reading in self.evidence.history.readings:
            for frame in reading.frames():
                yield reading.generation, frame.id or "", frame.at
        for polling in self.evidence.history.pollings:
            for reply in polling.replies:
                for event in (reply.body.get("events") or []) if reply.status == 200 else []:
                    yield polling.generation, event["id"], reply.at

    @cached_property
    def asked(self) -> dict[str, Asked]:
        return {asked.generation: asked for asked in self.evidence.history.asked if asked.generation}

    def revisions(self, generation: str, after: int, upto: int) -> list[float]:
        """The times at which clients first saw the revisions later than ``after``, up to ``upto``."""
        times = [self.seen.get((generation, f"{epoch}-0")) for epoch in range(after + 1, upto + 1)]
        return [at for at in times if at is not None]

    # --- text that is taken back

    def taken_back(self, generation: str, shown: float, taken: float) -> str | None:
        """The faults that explain why text shown at ``shown`` is missing at ``taken``: log and owner were lost.

        None when no faults explain it.
        """
        key = ("taken back", generation, shown, taken)
        if key not in self._cached:
            self._cached[key] = self._taken_back(generation, shown, taken)
        return self._cached[key]

    def _taken_back(self, generation: str, shown: float, taken: float) -> str | None:
        logs = [f for f in self._faults() if _loses_log(f) and self._lasts(f, shown, taken, SETTLING)]
        if not logs:
            return None
        longest = self.evidence.lease + PICKING_UP
        for fault in self._faults():
            if self.loses_owner(fault, generation) and self._lasts(fault, taken - longest, taken, 0):
                return f"{_name(logs[-1])} + {_name(fault)}"
        if self._cancelled(generation, taken):
            return f"{_name(logs[-1])} + a cancel"
        return None

    def cut_short(self, generation: str, shown: float) -> str | None:
        """The faults that explain why text shown at ``shown`` is missing in the archive; None without such faults."""
        row = self.evidence.dump.generations.get(generation)
        upto = row["epoch"] if row else 0
        ended = [row["finished_at"]] if row and row["finished_at"] else []
        for taken in [*self.revisions(generation, 0, upto), *ended]:
            if taken >= shown - BLUR and (found := self.taken_back(generation, shown, taken)):
                return found
        return None

    def _cancelled(self, generation: str, taken: float) -> bool:
        for cancelling in self.evidence.history.cancellings:
            if cancelling.generation == generation and cancelling.replies:
                first, last = cancelling.replies[0].at - REQUEST, cancelling.replies[-1].at
                if first <= taken <= last + self.evidence.lease + PICKING_UP:
                    return True
        return False

    # --- an answer that begins anew, is asked for again, or ends as an error

    def restarted(self, generation: str, taken: float) -> str | None:
        """The fault that ended the call of an answer whose text cannot be continued; None when the answer has none."""
        wishes = self.asked[generation].wishes if generation in self.asked else {}
        if not (wishes.get("tool_call") or wishes.get("reasoning") or TROUBLES & set(wishes)):
            return None
        for fault in self._faults():
            ends = self.loses_owner(fault, generation) or fault.kind in PROVIDER
            if ends and self._lasts(fault, taken - self.evidence.lease - PICKING_UP, taken, 0):
                return _name(fault)
        return "the provider" if TROUBLES & set(wishes) else None

    def interruptions(self, generation: str) -> int:
        """The number of times that faults may have ended the answer's call, or the claim of its lease."""
        asked = self.asked.get(generation)
        row = self.evidence.dump.generations.get(generation)
        if asked is None:
            return 0
        began = min((reply.at for reply in asked.replies), default=0.0) - REQUEST
        ended = row["finished_at"] if row and row["finished_at"] else math.inf
        count = RETRIES if TROUBLES & set(asked.wishes) else 0
        for fault in self._faults():
            if not self._lasts(fault, began, ended, 0):
                continue
            if fault.kind in OWNER_LOST:
                count += generation in fault.detail
            elif fault.kind in PROVIDER:
                count += 1
            elif self.loses_owner(fault, generation):
                count += 1 + int(max(0.0, self._end(fault) - fault.at) / self.evidence.lease)
        return count

    def calls(self, asked: Asked) -> int:
        """The most calls of the provider that are explained for one message."""
        rounds = 1 + int(asked.wishes.get("tool_rounds") or 0)
        return rounds * (1 + self.interruptions(asked.generation or ""))

    def failed(self, generation: str) -> str | None:
        """The reason for an answer's error: faults used up its tries, or the provider failed. None without."""
        row = self.evidence.dump.generations[generation]
        met = self.interruptions(generation)
        code = (row["error"] or {}).get("code")
        if code == "attempts_exhausted":
            return f"{met} interruptions in {row['tries']} tries" if 0 < row["tries"] - 1 <= met else None
        troubled = any(fault.kind in PROVIDER for fault in self._faults())
        asked = self.asked.get(generation)
        if troubled or (asked and TROUBLES & set(asked.wishes)):
            return "the provider"
        return None

    # --- the effect of a fault

    def loses_owner(self, fault: Fault, generation: str) -> bool:
        """True when the fault kills the answer's owner, or may cost the owner its lease."""
        if fault.kind in OWNER_LOST:
            return generation in fault.detail
        if fault.kind in NETWORK:
            return any(_is_worker(hop) and hop.endswith(".postgres") for hop in _hops(fault))
        return fault.kind in LEASES_LOST

    def arrival(self, sent: float) -> float:
        """The latest time at which a provider receives what was sent until ``sent``: a silent hop holds it back."""
        held = [
            fault.ended for fault in self._faults() if fault.kind == HOLDS_BACK and fault.at <= sent and fault.ended
        ]
        return max(sent, *held) if held else sent

    def _faults(self) -> list[Fault]:
        return self.evidence.history.faults

    def _end(self, fault: Fault) -> float:
        healed = self.evidence.history.healed
        if fault.ended is not None:
            return fault.ended
        return math.inf if healed is None else max(fault.at, healed)

    def _lasts(self, fault: Fault, since: float, until: float, after: float) -> bool:
        """True when the fault, prolonged by ``after`` seconds, touches the time from ``since`` to ``until``."""
        return fault.at - BLUR <= until and self._end(fault) + after + BLUR >= since


def _loses_log(fault: Fault) -> bool:
    return fault.kind in LOG_LOST or (fault.kind in NETWORK and any(hop.endswith(".redis") for hop in _hops(fault)))


def _hops(fault: Fault) -> list[str]:
    """The hops that a fault of the network names, behind a colon."""
    return fault.detail.rpartition(": ")[2].split(", ")


def _is_worker(hop: str) -> bool:
    return hop.startswith("worker")


def _name(fault: Fault) -> str:
    return fault.kind if fault.kind not in OWNER_LOST else f"{fault.kind} ({fault.detail.split()[0]})"
