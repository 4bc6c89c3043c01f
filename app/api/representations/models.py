"""Models, for users and for administrators."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.representations.fields import Json, decimal_text
from app.domain.accepts import AcceptsSpec
from app.domain.models import Price, TargetSpec
from app.services.model_catalog import Offer
from app.store import model_configs


class ModelPrice(BaseModel):
    """For a million tokens each, as decimal numbers."""

    input: str
    output: str
    cached_input: str | None = Field(description="Null when it costs as much as other input")
    cache_write: str | None = Field(description="Null when it costs as much as other input")
    currency: str

    @staticmethod
    def of(price: Price | None) -> dict[str, str | None] | None:
        """Null for a model without a price."""
        if price is None:
            return None
        return {
            "input": decimal_text(price.input),
            "output": decimal_text(price.output),
            "cached_input": None if price.cached_input is None else decimal_text(price.cached_input),
            "cache_write": None if price.cache_write is None else decimal_text(price.cache_write),
            "currency": price.currency,
        }


class ModelInputs(BaseModel):
    """The inputs that a model takes."""

    images: bool
    files: bool | Literal["text"] = Field(description="`text`: the model receives the text of a file")
    tools: bool
    reasoning: bool


class Model(BaseModel):
    """A model that can be chosen."""

    name: str
    provider: str
    default: bool
    label: str | None
    description: str | None
    tools: list[str]
    price: ModelPrice | None
    accepts: ModelInputs

    @staticmethod
    def of(offer: Offer) -> Json:
        """A model for the users that may choose it."""
        model = offer.model
        return {
            "name": model.name,
            "provider": model.provider,
            "default": offer.default,
            "label": model.label,
            "description": model.description,
            "tools": model.tools,
            "price": ModelPrice.of(model.price),
            "accepts": {
                "images": offer.accepts.images,
                "files": offer.accepts.shown_files,
                "tools": offer.accepts.tools,
                "reasoning": offer.accepts.reasoning,
            },
        }


class ModelList(BaseModel):
    """Every model that can be chosen."""

    items: list[Model]

    @staticmethod
    def of(found: Iterable[Offer]) -> Json:
        """All models that a user may choose."""
        return {"items": [Model.of(offer) for offer in found]}


class ModelConfiguration(BaseModel):
    """A model as its administrator sees it."""

    name: str
    provider: str
    upstream_name: str
    targets: list[TargetSpec] = Field(description="Empty for the short form")
    label: str | None
    description: str | None
    system_prompt: str | None
    parameters: dict[str, Any]
    on_interruption: list[Literal["continue", "restart", "error"]]
    tools: list[str]
    accepts: AcceptsSpec = Field(description="A field that is null is as the kinds of the upstreams have it")
    price: ModelPrice | None
    enabled: bool

    @staticmethod
    def of(found: model_configs.Model) -> Json:
        """A model as administrators configure it."""
        return {
            "name": found.name,
            "provider": found.provider,
            "upstream_name": found.upstream_name,
            "targets": [asdict(target) for target in found.targets],
            "label": found.label,
            "description": found.description,
            "system_prompt": found.system_prompt,
            "parameters": found.parameters,
            "on_interruption": found.on_interruption,
            "tools": found.tools,
            "accepts": {name: found.accepts.get(name) for name in AcceptsSpec.model_fields},
            "price": ModelPrice.of(found.price),
            "enabled": found.enabled,
        }


class ModelConfigurations(BaseModel):
    """All models."""

    items: list[ModelConfiguration]

    @staticmethod
    def of(found: Iterable[model_configs.Model]) -> Json:
        """All models as administrators configure them."""
        return {"items": [ModelConfiguration.of(one) for one in found]}
