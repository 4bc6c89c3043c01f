"""The services that only operators use, made of what all services share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.services.minutes import Minutes
from app.services.overview import Overviews
from app.services.texts import TextReader
from app.services.upstream_status import UpstreamStatuses
from app.store.database import Database


@dataclass(frozen=True, slots=True)
class ForOperators:
    """``streams_open`` and ``lost`` are those of ``Minutes``; minutes are kept for ``series_days``."""

    database: Database
    upstreams: UpstreamStatuses
    streams_open: Callable[[], int]
    lost: float
    series_days: int

    @property
    def overviews(self) -> Overviews:
        """The service at a glance."""
        return Overviews(self.database, self.upstreams, self.lost)

    @property
    def minutes(self) -> Minutes:
        """The rows of the service's minutes."""
        return Minutes(self.database, self.streams_open, self.lost, float(self.series_days))

    @property
    def texts(self) -> TextReader:
        """The texts of other users, for support."""
        return TextReader(self.database)
