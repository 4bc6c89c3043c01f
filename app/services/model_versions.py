"""Removes configurations of models that no answer needs any more; only workers see every generation that names one."""

from __future__ import annotations

from app.store import model_configs
from app.store.database import Database

# Seconds from the replacement of a version to its removal, unless a queued or running answer names it.
VERSION_SETTLED_SECONDS = 3600.0
# Versions removed in one transaction.
VERSIONS_AT_ONCE = 1000


def prune(database: Database) -> None:
    """Remove every version that is not needed. Raises DatabaseDown."""
    removed = VERSIONS_AT_ONCE
    while removed == VERSIONS_AT_ONCE:
        with database.system() as tx:
            removed = model_configs.prune_versions(tx, VERSION_SETTLED_SECONDS, VERSIONS_AT_ONCE)
