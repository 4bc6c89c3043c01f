"""Administration of models: list, add, replace, change, remove."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import entry_points

from app.domain.audit import SERVICE, Actor
from app.domain.errors import InvalidInput, NotFound
from app.domain.models import BUILT_IN_PROVIDERS, ModelSpec
from app.domain.tools import BUILT_IN, GROUP
from app.domain.upstreams import OPENAI
from app.store import audit, model_configs
from app.store.database import Database
from app.store.model_configs import Model

# Names that have an endpoint of their own beside the models.
TAKEN = frozenset({"all"})


class UnknownProvider(InvalidInput):
    """A model names a provider that is neither built in nor a configured upstream."""

    def __init__(self, provider: str, known: Sequence[str], field: str = "provider") -> None:
        variable = "OPENAI_BASE_URL" if provider == OPENAI else "UPSTREAMS"
        super().__init__(
            f"There is no provider named {provider!r}; there are {', '.join(known)}. {variable} adds one.", field
        )


class ModelAdmin:
    """Changes models. ``upstreams`` are the names of the upstreams that are configured.

    No process keeps a copy of what can be changed here: a change is in force everywhere when it is committed.
    """

    def __init__(self, database: Database, upstreams: Sequence[str]) -> None:
        self._database = database
        self._providers = (*BUILT_IN_PROVIDERS, *upstreams)

    def every(self) -> list[Model]:
        """All models, also those that are switched off."""
        with self._database.operator() as tx:
            return model_configs.every(tx)

    def get(self, name: str) -> Model:
        """One model. Raises NotFound."""
        with self._database.operator() as tx:
            return _found(model_configs.get(tx, name), name)

    def add(self, name: str, spec: ModelSpec, actor: Actor = SERVICE) -> Model:
        """Add a model. Raises InvalidInput when the name is taken, also by a model that is switched off."""
        self._check(name, spec)
        with self._database.operator() as tx:
            if not model_configs.put(tx, name, spec):
                raise InvalidInput(f"There is a model named {name!r} already.", "name")  # and nothing is written
            audit.record(tx, actor, "model.added", "model", name)
            return _found(model_configs.get(tx, name), name)

    def put(self, name: str, spec: ModelSpec, actor: Actor = SERVICE) -> tuple[Model, bool]:
        """Add or replace a model; the model, and True for a new one. Raises InvalidInput."""
        self._check(name, spec)
        with self._database.operator() as tx:
            is_new = model_configs.put(tx, name, spec)
            audit.record(tx, actor, "model.added" if is_new else "model.changed", "model", name)
            return _found(model_configs.get(tx, name), name), is_new

    def change(self, name: str, edit: Callable[[ModelSpec], ModelSpec], actor: Actor = SERVICE) -> Model:
        """Replace a model by what ``edit`` makes of it, in one transaction that holds its row.

        Of two changes at once, the second is made of the first one's result. Raises NotFound, InvalidInput, and what
        ``edit`` raises; then nothing is changed.
        """
        with self._database.operator() as tx:
            spec = edit(spec_of(_found(model_configs.hold(tx, name), name)))
            self._check(name, spec)
            model_configs.put(tx, name, spec)
            audit.record(tx, actor, "model.changed", "model", name)
            return _found(model_configs.get(tx, name), name)

    def remove(self, name: str, actor: Actor = SERVICE) -> Model | None:
        """Delete a model: None. A model that was used is switched off instead, and returned: its answers keep its name.

        Raises NotFound.
        """
        with self._database.operator() as tx:
            _found(model_configs.hold(tx, name), name)
            if model_configs.is_used(tx, name):
                model_configs.disable(tx, name)
            else:
                model_configs.delete(tx, name)
            audit.record(tx, actor, "model.removed", "model", name)
            return model_configs.get(tx, name)

    def _check(self, name: str, spec: ModelSpec) -> None:
        if name in TAKEN:
            raise InvalidInput(f"A model cannot be named {name!r}: that is the list of all of them.", "name")
        if spec.provider not in self._providers:
            raise UnknownProvider(spec.provider, self._providers)
        for place, target in enumerate(spec.targets):
            if target.upstream not in self._providers:
                raise UnknownProvider(target.upstream, self._providers, f"targets.{place}.upstream")
        known = tool_names()
        for tool in spec.tools:
            if tool not in known:
                raise InvalidInput(f"There is no tool named {tool!r}; there are {', '.join(known)}.", "tools")


def unanswerable(database: Database, providers: Sequence[str]) -> dict[str, list[str]]:
    """The enabled models that name providers other than these, with the names. Opens a transaction."""
    with database.without_user() as tx:
        models = [model for model in model_configs.every(tx) if model.enabled]
    missing = {model.name: [t.upstream for t in model.all_targets if t.upstream not in providers] for model in models}
    return {name: names for name, names in missing.items() if names}


def tool_names() -> list[str]:
    """The tools a model may name: the built-in ones, and those of installed packages."""
    return sorted({*BUILT_IN, *(entry.name for entry in entry_points(group=GROUP))})


def spec_of(model: Model) -> ModelSpec:
    """The specification of a model, as PUT takes it."""
    return ModelSpec.model_validate(
        {
            "provider": model.provider,
            "upstream_name": model.upstream_name,
            "targets": [asdict(target) for target in model.targets],
            "label": model.label,
            "description": model.description,
            "system_prompt": model.system_prompt,
            "parameters": dict(model.parameters),
            "on_interruption": list(model.on_interruption),
            "tools": list(model.tools),
            "accepts": dict(model.accepts),
            "price": model.price,
            "enabled": model.enabled,
        }
    )


def _found(model: Model | None, name: str) -> Model:
    if model is None:
        raise NotFound(f"There is no model named {name[:80]!r}.")
    return model
