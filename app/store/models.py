"""Models: named configurations of a provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.store.database import Tx, fetch


@dataclass(frozen=True, slots=True)
class Model:
    """How answers under this name are made. ``on_interruption`` empty: the deployment's policy."""

    name: str
    provider: str
    upstream_name: str
    system_prompt: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    on_interruption: tuple[str, ...] = ()


def every(tx: Tx) -> list[Model]:
    """Every enabled model, by name."""
    rows = fetch(
        tx,
        """SELECT name, provider, upstream_name, system_prompt, parameters, on_interruption
           FROM models WHERE enabled ORDER BY name""",
    )
    return [
        Model(r.name, r.provider, r.upstream_name, r.system_prompt, r.parameters, tuple(r.on_interruption or ()))
        for r in rows
    ]
