"""Models: named configurations of a provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain.models import ModelSpec, Price
from app.domain.targets import Target
from app.store.database import Tx, as_json, execute, fetch, fetch_one

UNCONFIGURED = 0


@dataclass(frozen=True, slots=True)
class Model:
    """The configuration under a model's name. ``on_interruption`` empty: the policy of the deployment.

    ``targets`` is empty for a model of one target; ``provider`` and ``upstream_name`` are the first one in any case.
    A model that is not ``enabled`` accepts no new generations. ``version`` numbers this configuration among those of
    all models; it is UNCONFIGURED for a name without a configuration. ``accepts`` are the inputs that are configured,
    by name; see ``domain.accepts``.
    """

    name: str
    provider: str
    upstream_name: str
    system_prompt: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    on_interruption: tuple[str, ...] = ()
    label: str | None = None
    description: str | None = None
    tools: tuple[str, ...] = ()
    price: Price | None = None
    enabled: bool = True
    version: int = UNCONFIGURED
    targets: tuple[Target, ...] = ()
    accepts: Mapping[str, bool] = field(default_factory=dict)

    @property
    def all_targets(self) -> tuple[Target, ...]:
        """The targets in order; at least one."""
        return self.targets or (Target(self.provider, self.upstream_name),)


_COLUMNS = """name, provider, upstream_name, targets, system_prompt, parameters, on_interruption, label, description,
    tools, accepts, input_price, output_price, cached_input_price, cache_write_price, currency, enabled,
    (SELECT max(v.version) FROM model_versions v WHERE v.name = models.name) AS version"""


def every(tx: Tx) -> list[Model]:
    """Every model by name, disabled ones included."""
    return [_model(row) for row in fetch(tx, f"SELECT {_COLUMNS} FROM models ORDER BY name")]


def get(tx: Tx, name: str) -> Model | None:
    """One model, or None."""
    row = fetch_one(tx, f"SELECT {_COLUMNS} FROM models WHERE name = :name", name=name)
    return _model(row) if row else None


def hold(tx: Tx, name: str) -> Model | None:
    """One model, locked until the transaction ends, so that two changes follow each other; or None."""
    row = fetch_one(tx, f"SELECT {_COLUMNS} FROM models WHERE name = :name FOR UPDATE", name=name)
    return _model(row) if row else None


def accepted(tx: Tx, version: int) -> Model | None:
    """The configuration of a version, without label, description and price; None for an unknown version.

    A version never changes. It stays when its model is changed or deleted, as long as a live generation names it.
    """
    row = fetch_one(tx, "SELECT name, configuration FROM model_versions WHERE version = :version", version=version)
    if row is None:
        return None
    said = row.configuration
    return Model(
        name=row.name,
        provider=said["provider"],
        upstream_name=said["upstream_name"],
        system_prompt=said["system_prompt"],
        parameters=said["parameters"],
        on_interruption=tuple(said["on_interruption"] or ()),
        tools=tuple(said["tools"]),
        version=version,
        targets=_targets(said.get("targets"), said["provider"], said["upstream_name"]),
        accepts=said.get("accepts") or {},
    )


def price(tx: Tx, name: str) -> Price | None:
    """The present price of a model; None without one."""
    found = get(tx, name)
    return found.price if found else None


def put(tx: Tx, name: str, spec: ModelSpec) -> bool:
    """Create or replace a model. Returns whether it is new."""
    row = fetch_one(
        tx,
        """INSERT INTO models (name, provider, upstream_name, targets, system_prompt, parameters, on_interruption,
               label, description, tools, accepts, input_price, output_price, cached_input_price, cache_write_price,
               currency, enabled)
           VALUES (:name, :provider, :upstream_name, CAST(:targets AS jsonb), :system_prompt, :parameters,
               CAST(:on_interruption AS text[]),
               :label, :description, CAST(:tools AS text[]), CAST(:accepts AS jsonb), :input_price, :output_price,
               :cached_input_price, :cache_write_price, :currency, :enabled)
           ON CONFLICT (name) DO UPDATE SET provider = EXCLUDED.provider, upstream_name = EXCLUDED.upstream_name,
               targets = EXCLUDED.targets, system_prompt = EXCLUDED.system_prompt, parameters = EXCLUDED.parameters,
               on_interruption = EXCLUDED.on_interruption, label = EXCLUDED.label,
               description = EXCLUDED.description, tools = EXCLUDED.tools, accepts = EXCLUDED.accepts,
               input_price = EXCLUDED.input_price,
               output_price = EXCLUDED.output_price, cached_input_price = EXCLUDED.cached_input_price,
               cache_write_price = EXCLUDED.cache_write_price, currency = EXCLUDED.currency, enabled = EXCLUDED.enabled
           RETURNING created_at = now() AS is_new""",
        name=name,
        provider=spec.provider,
        upstream_name=spec.upstream_name or name,
        targets=as_json([target.model_dump() for target in spec.targets]) if spec.targets else None,
        system_prompt=spec.system_prompt,
        parameters=as_json(spec.parameters),
        on_interruption=list(spec.on_interruption) or None,
        label=spec.label,
        description=spec.description,
        tools=list(spec.tools),
        accepts=as_json(given) if (given := spec.accepts.model_dump(exclude_none=True)) else None,
        input_price=spec.price.input if spec.price else None,
        output_price=spec.price.output if spec.price else None,
        cached_input_price=spec.price.cached_input if spec.price else None,
        cache_write_price=spec.price.cache_write if spec.price else None,
        currency=spec.price.currency if spec.price else None,
        enabled=spec.enabled,
    )
    assert row is not None, "it is inserted or updated"
    return bool(row.is_new)


def is_used(tx: Tx, name: str) -> bool:
    """True for a model with a conversation, a day of usage, or a live generation."""
    row = fetch_one(
        tx,
        "SELECT model_is_used(:name) AS used",
        name=name,
    )
    return bool(row and row.used)


def disable(tx: Tx, name: str) -> None:
    """Let a model accept no new generations."""
    execute(tx, "UPDATE models SET enabled = false WHERE name = :name", name=name)


def delete(tx: Tx, name: str) -> bool:
    """Delete a model. Returns whether it existed."""
    return execute(tx, "DELETE FROM models WHERE name = :name", name=name) == 1


def prune_versions(tx: Tx, settled_seconds: float, limit: int) -> int:
    """Remove up to ``limit`` versions that no generation needs any more. Returns their number.

    A version is kept while a model has it, while a queued or running generation names it, and for ``settled_seconds``
    after it was replaced: a transaction that accepts an answer may have read it before. The last version of a deleted
    model is kept for ``settled_seconds`` after it was made.
    """
    return execute(
        tx,
        """DELETE FROM model_versions WHERE version IN (
               SELECT v.version FROM model_versions v
               LEFT JOIN LATERAL (
                   SELECT n.created_at FROM model_versions n
                   WHERE n.name = v.name AND n.version > v.version ORDER BY n.version LIMIT 1
               ) newer ON true
               WHERE coalesce(newer.created_at, v.created_at) < now() - make_interval(secs => :settled_seconds)
                   AND (newer.created_at IS NOT NULL OR NOT EXISTS (SELECT FROM models m WHERE m.name = v.name))
                   AND NOT EXISTS (SELECT FROM generations g
                       WHERE g.model_version = v.version AND g.status IN ('queued', 'running'))
               ORDER BY v.version LIMIT :limit)""",
        settled_seconds=settled_seconds,
        limit=limit,
    )


def _model(row: Any) -> Model:
    price = None
    if row.currency is not None:
        price = Price(
            input=row.input_price,
            output=row.output_price,
            cached_input=row.cached_input_price,
            cache_write=row.cache_write_price,
            currency=row.currency,
        )
    return Model(
        name=row.name,
        provider=row.provider,
        upstream_name=row.upstream_name,
        system_prompt=row.system_prompt,
        parameters=row.parameters,
        on_interruption=tuple(row.on_interruption or ()),
        label=row.label,
        description=row.description,
        tools=tuple(row.tools),
        price=price,
        enabled=row.enabled,
        version=row.version,
        targets=_targets(row.targets, row.provider, row.upstream_name),
        accepts=row.accepts or {},
    )


def _targets(stored: list[dict[str, Any]] | None, provider: str, upstream_name: str) -> tuple[Target, ...]:
    """The stored targets; none where an earlier release has changed the model, which writes provider and name only."""
    targets = tuple(Target(**target) for target in stored or ())
    return targets if targets and (targets[0].upstream, targets[0].name) == (provider, upstream_name) else ()
