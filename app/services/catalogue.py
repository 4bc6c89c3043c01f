"""Which models can be asked: the configured ones, and whatever the upstream has."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock

from app.domain.errors import InvalidInput, StoreDown
from app.store import models
from app.store.database import Database
from app.store.models import Model
from app.upstream import Upstream

OFFLINE = "offline"
# A model that is added or changed is known to every process after so many seconds.
FRESH_SECONDS = 5


class UpstreamSilent(StoreDown):
    """The upstream does not list its models, and no DEFAULT_MODEL is set."""

    retry_after = 10


class UnknownModel(InvalidInput):
    """There is no model of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no model named {name[:80]!r}.", "model")


class DisabledModel(InvalidInput):
    """A model of this name is not asked any more."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The model {name[:80]!r} is switched off; choose another one.", "model")


@dataclass(frozen=True, slots=True)
class Offer:
    """A model as a client sees it."""

    model: Model
    default: bool

    @property
    def name(self) -> str:
        """What it is called."""
        return self.model.name

    @property
    def provider(self) -> str:
        """Who answers."""
        return self.model.provider


class Catalogue:
    """Finds models by name. ``upstream`` None: only configured ones exist."""

    def __init__(self, database: Database, upstream: Upstream | None, default: str | None) -> None:
        self._database = database
        self._upstream = upstream
        self._default = default
        self._lock = Lock()
        self._known: dict[str, Model] = {}
        self._stale_at = 0.0

    def refresh(self, with_default: bool) -> None:
        """Look what there is, if that was long ago. Called before a transaction, in which nobody may wait for it."""
        self._configured()
        if with_default and not self._default and self._upstream is not None:
            self._upstream.models()

    def default(self) -> str:
        """The model of general chats."""
        if self._default:
            return self._default
        if self._upstream is None:
            return OFFLINE
        offered = self._upstream.models()
        if not offered:
            raise UpstreamSilent
        return offered[0]

    def find(self, name: str) -> Model:
        """The model of this name. Raises UnknownModel when there is none, DisabledModel when it is switched off."""
        configured = self._configured().get(name)
        if configured:
            if not configured.enabled:
                raise DisabledModel(name)
            return configured
        if self._upstream is not None:
            return Model(name, "openai", name)
        raise UnknownModel(name)

    def offers(self) -> list[Offer]:
        """Every model by name, configured ones first."""
        known = self._configured()
        upstream = [name for name in self._upstream.models() if name not in known] if self._upstream else []
        default = self._default or (upstream[0] if upstream else OFFLINE)
        offered = [model for model in known.values() if model.enabled]
        offered += [Model(name, "openai", name) for name in upstream]
        return [Offer(model, model.name == default) for model in offered]

    def forget(self) -> None:
        """Look again at the next question: something was changed. Other processes notice after FRESH_SECONDS."""
        self._stale_at = 0.0

    def _configured(self) -> dict[str, Model]:
        if time.monotonic() >= self._stale_at:
            with self._lock:
                if time.monotonic() >= self._stale_at:
                    self._load()
        return self._known

    def _load(self) -> None:
        with self._database.system() as tx:
            self._known = {model.name: model for model in models.every(tx)}
        self._stale_at = time.monotonic() + FRESH_SECONDS
