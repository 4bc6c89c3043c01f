"""The services for people, beside their conversations and answers; made of what all services share."""

from __future__ import annotations

from dataclasses import dataclass

from app.services.feedback import Feedback
from app.services.import_export import ImportExport
from app.services.model_catalog import ModelCatalog
from app.services.preferences import Preferences
from app.services.shares import Shares
from app.store.database import Database


@dataclass(frozen=True, slots=True)
class ForPeople:
    """Services without a state of their own. ``most_shares`` and ``most_share_bytes`` are those of ``Shares``."""

    database: Database
    catalogue: ModelCatalog
    transfer: ImportExport
    most_shares: int
    most_share_bytes: int

    @property
    def feedback(self) -> Feedback:
        """The ratings that users give to answers."""
        return Feedback(self.database)

    @property
    def shares(self) -> Shares:
        """Conversations that everybody may read who has their address."""
        return Shares(self.database, self.transfer, self.most_shares, self.most_share_bytes)

    @property
    def preferences(self) -> Preferences:
        """The choices of users."""
        return Preferences(self.database, self.catalogue)
