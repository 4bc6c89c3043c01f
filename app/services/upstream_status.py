"""The upstreams as operators see them: their breakers, and the models that depend on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.domain.breaker import BreakerState, BreakerView
from app.domain.upstreams import Upstream
from app.eventlog.breakers import Breakers
from app.store import model_configs, upstream_models
from app.store.database import Database

_GRAVITY: tuple[BreakerState, ...] = ("closed", "half_open", "open")


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A target of configured models, with its breaker."""

    name: str
    models: list[str]
    breaker: BreakerView


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """An upstream. ``kind`` is None before the first worker that knows the upstream has started."""

    name: str
    kind: str | None
    targets: list[TargetStatus]

    @property
    def breaker(self) -> BreakerState:
        """The worst state of its targets."""
        return max((target.breaker.state for target in self.targets), key=_GRAVITY.index, default="closed")

    @property
    def failures(self) -> int:
        """The present failures of all its targets."""
        return sum(target.breaker.failures for target in self.targets)

    @property
    def models(self) -> list[str]:
        """The models that have a target there."""
        return sorted({model for target in self.targets for model in target.models})


class UpstreamStatuses:
    """Reads the status of upstreams. ``upstreams`` are the names of the configured ones."""

    def __init__(self, database: Database, breakers: Breakers, upstreams: Sequence[str]) -> None:
        self._database = database
        self._breakers = breakers
        self._upstreams = tuple(upstreams)

    def every(self) -> list[UpstreamStatus]:
        """Every configured upstream, in order. Raises StoreDown."""
        with self._database.without_user() as tx:
            kinds = upstream_models.kinds(tx, self._upstreams)
            models = model_configs.every(tx)
        users: dict[str, dict[str, list[str]]] = {name: {} for name in self._upstreams}
        for model in models:
            for target in model.all_targets:
                if target.upstream in users:
                    users[target.upstream].setdefault(target.name, []).append(model.name)
        keys = [f"{upstream}/{name}" for upstream, names in users.items() for name in names]
        views = self._breakers.read(keys) if keys else {}
        return [
            UpstreamStatus(
                upstream,
                kinds.get(upstream),
                [TargetStatus(name, used_by, views[f"{upstream}/{name}"]) for name, used_by in names.items()],
            )
            for upstream, names in users.items()
        ]


def store_kinds(database: Database, upstreams: Iterable[Upstream]) -> None:
    """Store the kinds of the upstreams, which only workers know. Raises DatabaseDown."""
    with database.system() as tx:
        for upstream in upstreams:
            upstream_models.store_kind(tx, upstream.name, upstream.kind)
