"""What an administrator does to models."""

from __future__ import annotations

from importlib.metadata import entry_points

from app.domain.errors import InvalidInput, NotFound
from app.domain.models import ModelSpec
from app.domain.tools import BUILT_IN, GROUP
from app.services.catalogue import Catalogue
from app.store import models
from app.store.database import Database
from app.store.models import Model

# Where a model has its address, all of them have theirs.
TAKEN = frozenset({"all"})


class Configurator:
    """Changes models. ``has_upstream``: whether the provider ``openai`` has somebody to ask."""

    def __init__(self, database: Database, catalogue: Catalogue, has_upstream: bool) -> None:
        self._database = database
        self._catalogue = catalogue
        self._has_upstream = has_upstream

    def every(self) -> list[Model]:
        """All of them, also those that are switched off."""
        with self._database.system() as tx:
            return models.every(tx)

    def get(self, name: str) -> Model:
        """One of them. Raises NotFound."""
        with self._database.system() as tx:
            return _found(models.get(tx, name), name)

    def add(self, name: str, spec: ModelSpec) -> Model:
        """A new one. Raises InvalidInput when the name is taken, also by one that is switched off."""
        self._check(name, spec)
        with self._database.system() as tx:
            if models.get(tx, name) is not None:
                raise InvalidInput(f"There is a model named {name!r} already.", "name")
            models.put(tx, name, spec)
        return self._changed(name)

    def put(self, name: str, spec: ModelSpec) -> tuple[Model, bool]:
        """Make it what ``spec`` says; and whether it is a new one. Raises InvalidInput."""
        self._check(name, spec)
        with self._database.system() as tx:
            is_new = models.put(tx, name, spec)
        return self._changed(name), is_new

    def remove(self, name: str) -> Model | None:
        """Forget it: None. One that was used is only switched off, and returned: what it said keeps its name.

        Raises NotFound.
        """
        with self._database.system() as tx:
            _found(models.get(tx, name), name)
            if models.is_used(tx, name):
                models.disable(tx, name)
            else:
                models.delete(tx, name)
            left = models.get(tx, name)
        self._catalogue.forget()
        return left

    def _changed(self, name: str) -> Model:
        self._catalogue.forget()
        return self.get(name)

    def _check(self, name: str, spec: ModelSpec) -> None:
        if name in TAKEN:
            raise InvalidInput(f"A model cannot be named {name!r}: that is the list of all of them.", "name")
        if spec.provider == "openai" and not self._has_upstream:
            raise InvalidInput("The provider openai needs OPENAI_BASE_URL.", "provider")
        known = tool_names()
        for tool in spec.tools:
            if tool not in known:
                raise InvalidInput(f"There is no tool named {tool!r}; there are {', '.join(known)}.", "tools")


def tool_names() -> list[str]:
    """The tools a model may name: our own, and those of installed packages."""
    return sorted({*BUILT_IN, *(entry.name for entry in entry_points(group=GROUP))})


def spec_of(model: Model) -> ModelSpec:
    """A model as its administrator would say it."""
    return ModelSpec.model_validate(
        {
            "provider": model.provider,
            "upstream_name": model.upstream_name,
            "label": model.label,
            "description": model.description,
            "system_prompt": model.system_prompt,
            "parameters": dict(model.parameters),
            "on_interruption": list(model.on_interruption),
            "tools": list(model.tools),
            "price": model.price,
            "enabled": model.enabled,
        }
    )


def _found(model: Model | None, name: str) -> Model:
    if model is None:
        raise NotFound(f"There is no model named {name[:80]!r}.")
    return model
