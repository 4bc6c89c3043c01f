"""The configuration of a model as an administrator sends it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from app.domain.accepts import AS_UPSTREAMS, AcceptsSpec
from app.domain.answer_format import accepted
from app.domain.json_schema import SchemaLimits
from app.domain.storable import sound, storable
from app.domain.targets import MOST_TARGETS, Continuation, Target

# The providers without an upstream. The worker has these; a test compares the two lists.
BUILT_IN_PROVIDERS = ("offline", "offline-fast")
# Parameters that conversations and this service set themselves.
RESERVED = frozenset({"model", "messages", "stream", "stream_options", "tools", "n"})
MOST_PARAMETER_BYTES = 16_384


def _decimal(value: Any) -> Any:
    """Prices may come as numbers or as text; as a number of the shortest form that means it."""
    return Decimal(repr(value)) if isinstance(value, float) else value


Text = Annotated[str, AfterValidator(storable)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]
# ``offline``, ``offline-fast``, or the name of an upstream; services compare it with the configured ones.
ProviderName = Annotated[Text, Field(min_length=1, max_length=40, description="A built-in provider or an upstream")]
Amount = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    Field(ge=0, lt=100_000_000, max_digits=14, decimal_places=6, allow_inf_nan=False, strict=False),
]


class Price(BaseModel):
    """Prices of a million tokens each. Input that a provider's cache serves or keeps may have prices of its own."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    input: Amount
    output: Amount
    cached_input: Amount | None = Field(None, description="Input that was read from a cache; left out: as other input")
    cache_write: Amount | None = Field(None, description="Input that was written to a cache; left out: as other input")
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")] = "USD"

    def of(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0, cache_write_tokens: int = 0) -> Decimal:
        """The price of these tokens. Cached and written ones are part of ``input_tokens``: others do not count."""
        cached = min(cached_tokens, input_tokens)
        written = min(cache_write_tokens, input_tokens - cached)
        parts = (
            self.input * (input_tokens - cached - written),
            (self.input if self.cached_input is None else self.cached_input) * cached,
            (self.input if self.cache_write is None else self.cache_write) * written,
            self.output * output_tokens,
        )
        return sum(parts, Decimal(0)) / 1_000_000


def _sendable(value: dict[str, Any]) -> dict[str, Any]:
    """Parameters that a provider can be sent."""
    sound(value)
    if reserved := sorted(RESERVED & value.keys()):
        raise ValueError(f"must not contain {', '.join(reserved)}: that is decided elsewhere")
    if len(orjson.dumps(value)) > MOST_PARAMETER_BYTES:
        raise ValueError(f"must not have more than {MOST_PARAMETER_BYTES} bytes")
    if value.get("response_format") is not None:
        # InvalidAnswerFormat is a ValueError.
        accepted(value["response_format"], SchemaLimits())
    return value


Parameters = Annotated[dict[str, Any], AfterValidator(_sendable)]


class TargetSpec(BaseModel):
    """One of the targets of a model."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    upstream: ProviderName = Field(description="The name of an upstream or of a built-in provider")
    name: Name = Field(description="The upstream's own name of the model")
    parameters: Parameters = Field(default_factory=dict, description="Added to the model's, for this target only")
    continuation: Continuation | None = Field(
        None, description="How this target continues a text; left out: as its upstream does"
    )

    def target(self) -> Target:
        """The target as a worker uses it."""
        return Target(self.upstream, self.name, self.parameters, self.continuation)


class ModelSpec(BaseModel):
    """Configures the answers under a name.

    `targets` are tried in order. `provider` and `upstream_name` are a short form for one target; beside `targets` they
    repeat the first one, or are left out. `upstream_name` left out: the name itself.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    provider: ProviderName
    upstream_name: Name | None = None
    targets: list[TargetSpec] = Field(
        default_factory=list, max_length=MOST_TARGETS, description="In order; the next one answers when one fails"
    )
    label: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    description: Annotated[Text, Field(max_length=2000)] | None = None
    system_prompt: Annotated[Text, Field(max_length=100_000)] | None = None
    parameters: Parameters = Field(default_factory=dict, description="Sent to the provider as they are")
    on_interruption: list[Literal["continue", "restart", "error"]] = Field(
        default_factory=list, max_length=3, description="The first the provider can; empty: the deployment's policy"
    )
    tools: list[Name] = Field(default_factory=list, max_length=64, description="Server-side functions it may call")
    accepts: AcceptsSpec = Field(AS_UPSTREAMS, description="The inputs; left out: as the kinds of the upstreams do")
    price: Price | None = None
    enabled: bool = True

    @model_validator(mode="before")
    @classmethod
    def _provider_of_the_first(cls, given: Any) -> Any:
        """Earlier releases know one target: the first one stands in its fields, too."""
        targets = given.get("targets") if isinstance(given, dict) else None
        first = targets[0] if isinstance(targets, list) and targets else None
        if isinstance(first, TargetSpec):
            first = first.model_dump()
        if not isinstance(first, dict):
            return given
        # A first target without one of them is an error at its own place.
        repeated = {"provider": first.get("upstream") or "-", "upstream_name": first.get("name") or "-"}
        return {**given, **{name: given.get(name) or value for name, value in repeated.items()}}

    @field_validator("targets")
    @classmethod
    def _differ(cls, targets: list[TargetSpec]) -> list[TargetSpec]:
        if len({target.target().key for target in targets}) < len(targets):
            raise ValueError("must not name a target twice")
        return targets

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.targets and (self.provider, self.upstream_name) != (self.targets[0].upstream, self.targets[0].name):
            raise ValueError("provider and upstream_name must be those of the first target, or be left out")
        return self

    @field_validator("on_interruption", "tools")
    @classmethod
    def _are_distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("must not name anything twice")
        return value


def changed(old: ModelSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a model after a change of some of them. One form of the targets takes the place of the other."""
    kept = old.model_dump()
    if given.get("targets"):
        del kept["provider"], kept["upstream_name"]
    elif "targets" not in given and given.keys() & {"provider", "upstream_name"}:
        kept["targets"] = []
    return {**kept, **given}
