"""What an administrator says about a model."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator

from app.domain.storable import sound, storable

# The worker has these; a test holds the two together. "openai" is any upstream that speaks its protocol.
ProviderName = Literal["offline", "offline-fast", "openai"]
PROVIDERS: tuple[str, ...] = get_args(ProviderName)
# What a conversation and this service decide themselves.
RESERVED = frozenset({"model", "messages", "stream", "stream_options", "tools", "n"})
MOST_PARAMETER_BYTES = 16_384


def _decimal(value: Any) -> Any:
    """Prices may come as numbers or as text; as a number of the shortest form that means it."""
    return Decimal(repr(value)) if isinstance(value, float) else value


Text = Annotated[str, AfterValidator(storable)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]
Amount = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    Field(ge=0, lt=100_000_000, max_digits=14, decimal_places=6, allow_inf_nan=False, strict=False),
]


class Price(BaseModel):
    """For a million tokens each."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    input: Amount
    output: Amount
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")] = "USD"

    def of(self, input_tokens: int, output_tokens: int) -> Decimal:
        """What so many tokens cost."""
        return (self.input * input_tokens + self.output * output_tokens) / 1_000_000


class ModelSpec(BaseModel):
    """How answers under a name are made. `upstream_name` left out: the name itself."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    provider: ProviderName
    upstream_name: Name | None = None
    label: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    description: Annotated[Text, Field(max_length=2000)] | None = None
    system_prompt: Annotated[Text, Field(max_length=100_000)] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict, description="Sent to the provider as they are")
    on_interruption: list[Literal["continue", "restart", "error"]] = Field(
        default_factory=list, max_length=3, description="The first the provider can; empty: the deployment's policy"
    )
    tools: list[Name] = Field(default_factory=list, max_length=64, description="Server-side functions it may call")
    price: Price | None = None
    enabled: bool = True

    @field_validator("parameters")
    @classmethod
    def _can_be_sent(cls, value: dict[str, Any]) -> dict[str, Any]:
        sound(value)
        if reserved := sorted(RESERVED & value.keys()):
            raise ValueError(f"must not contain {', '.join(reserved)}: that is decided elsewhere")
        if len(orjson.dumps(value)) > MOST_PARAMETER_BYTES:
            raise ValueError(f"must not have more than {MOST_PARAMETER_BYTES} bytes")
        return value

    @field_validator("on_interruption", "tools")
    @classmethod
    def _are_distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("must not name anything twice")
        return value
