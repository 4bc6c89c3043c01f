"""One fault under observation: the seconds until /readyz, the overview and each alert tell it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.alerts.deployment import Deployment
from tests.alerts.faults import Fault
from tests.alerts.monitoring import INTERVAL
from tests.alerts.rules import rules
from tests.stack import until

# The most that a fault is watched, and that the service has to become well again, in seconds.
PATIENCE = 300.0
STEP = 0.1


@dataclass
class Seen:
    """The seconds from a fault to each sign. ``pending`` and ``firing``: by alert."""

    fault: str
    readyz: float | None = None
    overview: float | None = None
    pending: dict[str, float] = field(default_factory=dict)
    firing: dict[str, float] = field(default_factory=dict)

    def in_production(self, alert: str) -> float:
        """About the most seconds until an alert fires with intervals of 15 s and its own ``for``."""
        [rule] = [one for one in rules() if one.name == alert]
        return self.pending[alert] + 2 * (15 - INTERVAL) + rule.seconds

    def lacks(self, fault: Fault) -> list[str]:
        """The signs that have not come."""
        signs = (("/readyz", fault.readyz, self.readyz), ("overview", fault.overview, self.overview))
        return [name for name, says, value in signs if says is not None and value is None] + [
            name for name in fault.alerts if name not in self.firing
        ]


class Watch:
    """Watches one fault from three threads, because a reply may be late while a store is frozen."""

    def __init__(self, deployed: Deployment, fault: Fault) -> None:
        self._deployed = deployed
        self._fault = fault
        self._seen = Seen(fault.name)
        self._ended = threading.Event()
        self._before = set(deployed.prometheus.alerts())
        self._began = 0.0

    def run(self) -> Seen:
        """Make the fault, wait for its signs, end it, and wait until the service is well again."""
        threads = [threading.Thread(target=self._repeat, args=(look,)) for look in (self._readyz, self._overview)]
        self._began = time.monotonic()
        undo = self._fault.make(self._deployed)
        # Making a fault may take a while, such as sending many requests; it counts from its beginning.
        try:
            for thread in threads:
                thread.start()
            while self._seen.lacks(self._fault) and self._passed() < PATIENCE:
                self._note_alerts()
                time.sleep(STEP)
        finally:
            self._ended.set()
            undo()
        for thread in threads:
            thread.join()
        until(self._deployed.is_well, PATIENCE, f"the end of {self._fault.name}")
        return self._seen

    def _passed(self) -> float:
        return time.monotonic() - self._began

    def _repeat(self, look: Callable[[], bool]) -> None:
        while not self._ended.is_set() and not look():
            time.sleep(STEP)

    def _readyz(self) -> bool:
        says = self._fault.readyz
        if says is not None and says(*self._deployed.call("/readyz")):
            self._seen.readyz = self._passed()
        return says is None or self._seen.readyz is not None

    def _overview(self) -> bool:
        says = self._fault.overview
        if says is not None and says(*self._deployed.call("/api/v1/ops/overview")):
            self._seen.overview = self._passed()
        return says is None or self._seen.overview is not None

    def _note_alerts(self) -> None:
        for name, state in self._deployed.prometheus.alerts().items():
            if name in self._before:
                continue
            self._seen.pending.setdefault(name, self._passed())
            if state == "firing":
                self._seen.firing.setdefault(name, self._passed())
