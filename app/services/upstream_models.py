"""The upstreams' model names for a web process: read from PostgreSQL, where a worker stores them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from app.store import upstream_models
from app.store.database import Database
from app.store.upstream_models import UpstreamModels

# A process reads the rows at most once in this time; workers refresh them every few minutes.
COPY_SECONDS = 5.0


class UpstreamLists:
    """The lists of the upstreams, as copies that are at most COPY_SECONDS old. Any thread may use it.

    ``upstreams`` are their names in order: of two that list a model, the first one answers.
    """

    def __init__(self, database: Database, upstreams: Sequence[str]) -> None:
        self._database = database
        self.upstreams = tuple(upstreams)
        self._copy: Mapping[str, UpstreamModels] = dict.fromkeys(self.upstreams, UpstreamModels())
        self._kinds: Mapping[str, str] = {}
        self._read_at: float | None = None

    def read(self) -> Mapping[str, UpstreamModels]:
        """The stored lists by upstream, in order. Opens a transaction where a copy is old. Raises DatabaseDown."""
        now = time.monotonic()
        has_names = any(listed.names for listed in self._copy.values())
        if self._read_at is None or now - self._read_at >= COPY_SECONDS or not has_names:
            with self._database.without_user() as tx:
                self._copy = upstream_models.every(tx, self.upstreams)
                self._kinds = upstream_models.kinds(tx, self.upstreams)
            self._read_at = now
        return self._copy

    @property
    def kinds(self) -> Mapping[str, str]:
        """The kinds of the upstreams that workers have stored, as of the last ``read``."""
        return self._kinds

    @property
    def copy(self) -> Mapping[str, UpstreamModels]:
        """The lists that were read last; empty ones before the first ``read``."""
        return self._copy
