"""The services for the data of users, as one part of the wiring."""

from __future__ import annotations

from dataclasses import dataclass

from app.services.own_data.erasing import Erasures
from app.services.own_data.exports import Exports
from app.services.own_data.holds import Holds
from app.services.own_data.retention import Retention


@dataclass(frozen=True, slots=True)
class OwnData:
    """Exports and erasures of users, the end of old conversations, and the holds that keep both from deleting."""

    exports: Exports
    erasures: Erasures
    retention: Retention
    holds: Holds
