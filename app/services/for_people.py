"""The services for people, beside their conversations and answers; made of what all services share."""

from __future__ import annotations

from dataclasses import dataclass

from app.services.model_catalog import ModelCatalog
from app.services.preferences import Preferences
from app.store.database import Database


@dataclass(frozen=True, slots=True)
class ForPeople:
    """Services without a state of their own."""

    database: Database
    catalogue: ModelCatalog

    @property
    def preferences(self) -> Preferences:
        """The choices of users."""
        return Preferences(self.database, self.catalogue)
