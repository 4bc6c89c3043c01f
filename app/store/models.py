"""Models: named configurations of a provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain.models import ModelSpec, Price
from app.store.database import Tx, as_json, execute, fetch, fetch_one


@dataclass(frozen=True, slots=True)
class Model:
    """How answers under this name are made. ``on_interruption`` empty: the deployment's policy.

    One that is not ``enabled`` is not asked any more.
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


_COLUMNS = """name, provider, upstream_name, system_prompt, parameters, on_interruption, label, description, tools,
    input_price, output_price, currency, enabled"""


def every(tx: Tx) -> list[Model]:
    """Every model by name, also those that are not enabled."""
    return [_model(row) for row in fetch(tx, f"SELECT {_COLUMNS} FROM models ORDER BY name")]


def get(tx: Tx, name: str) -> Model | None:
    """One model."""
    row = fetch_one(tx, f"SELECT {_COLUMNS} FROM models WHERE name = :name", name=name)
    return _model(row) if row else None


def price(tx: Tx, name: str) -> Price | None:
    """What a model costs now; None when nobody has said so."""
    found = get(tx, name)
    return found.price if found else None


def put(tx: Tx, name: str, spec: ModelSpec) -> bool:
    """Make a model what ``spec`` says; whether it is a new one."""
    row = fetch_one(
        tx,
        """INSERT INTO models (name, provider, upstream_name, system_prompt, parameters, on_interruption, label,
               description, tools, input_price, output_price, currency, enabled)
           VALUES (:name, :provider, :upstream_name, :system_prompt, :parameters, CAST(:on_interruption AS text[]),
               :label, :description, CAST(:tools AS text[]), :input_price, :output_price, :currency, :enabled)
           ON CONFLICT (name) DO UPDATE SET provider = EXCLUDED.provider, upstream_name = EXCLUDED.upstream_name,
               system_prompt = EXCLUDED.system_prompt, parameters = EXCLUDED.parameters,
               on_interruption = EXCLUDED.on_interruption, label = EXCLUDED.label,
               description = EXCLUDED.description, tools = EXCLUDED.tools, input_price = EXCLUDED.input_price,
               output_price = EXCLUDED.output_price, currency = EXCLUDED.currency, enabled = EXCLUDED.enabled
           RETURNING created_at = now() AS is_new""",
        name=name,
        provider=spec.provider,
        upstream_name=spec.upstream_name or name,
        system_prompt=spec.system_prompt,
        parameters=as_json(spec.parameters),
        on_interruption=list(spec.on_interruption) or None,
        label=spec.label,
        description=spec.description,
        tools=list(spec.tools),
        input_price=spec.price.input if spec.price else None,
        output_price=spec.price.output if spec.price else None,
        currency=spec.price.currency if spec.price else None,
        enabled=spec.enabled,
    )
    assert row is not None, "it is inserted or updated"
    return bool(row.is_new)


def is_used(tx: Tx, name: str) -> bool:
    """Whether a conversation was begun with it, or it answered or is to answer anything."""
    row = fetch_one(
        tx,
        """SELECT EXISTS (SELECT FROM conversations WHERE model = :name)
               OR EXISTS (SELECT FROM usage_days WHERE model = :name)
               OR EXISTS (SELECT FROM generations WHERE model = :name AND status IN ('queued', 'running')) AS used""",
        name=name,
    )
    return bool(row and row.used)


def disable(tx: Tx, name: str) -> None:
    """Ask it no more."""
    execute(tx, "UPDATE models SET enabled = false WHERE name = :name", name=name)


def delete(tx: Tx, name: str) -> bool:
    """Forget it; whether it was there."""
    return execute(tx, "DELETE FROM models WHERE name = :name", name=name) == 1


def _model(row: Any) -> Model:
    price = None
    if row.currency is not None:
        price = Price(input=row.input_price, output=row.output_price, currency=row.currency)
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
    )
