"""The preferences of a user, which every browser of the user reads."""

from __future__ import annotations

from typing import Any

from app.domain.commands import User
from app.services.model_catalog import ModelCatalog
from app.store import preferences
from app.store.database import Database


class Preferences:
    """Reads and changes the preferences of a user. Each method raises DatabaseDown."""

    def __init__(self, database: Database, catalogue: ModelCatalog) -> None:
        self._database = database
        self._catalogue = catalogue

    def get(self, user: User) -> dict[str, Any]:
        """The choices of the user, by name."""
        with self._database.user(user.id) as tx:
            return preferences.get(tx)

    def change(self, user: User, given: dict[str, Any]) -> dict[str, Any]:
        """Set choices; None removes one. Raises UnknownModel, DisabledModel; returns all choices."""
        chosen = {name: value for name, value in given.items() if value is not None}
        if "model" in chosen:
            self._catalogue.prepare()
        with self._database.user(user.id) as tx:
            if "model" in chosen:
                self._catalogue.find(tx, chosen["model"])
            return preferences.change(tx, user.id, chosen, [name for name in given if name not in chosen])
