"""The bodies of requests for API keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from limits import parse_many
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, model_validator

from app.api.budget_body import BudgetBody
from app.api.fields import ModelName, Title
from app.api.request_parsing import Body, Text
from app.domain.budget import UNLIMITED
from app.domain.credential import KeyLimits, Scope
from app.services.api_keys import LONGEST_ROTATION_SECONDS
from app.store.api_keys import KeyRights

MOST_MODELS = 100
MOST_STREAMS = 100_000
# Years that a key may last: PostgreSQL and Python have no room for much more.
_LAST_YEAR = 9000


def _as_time(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a time of RFC 3339, such as 2027-01-31T12:00:00Z") from None


def _in_the_future(at: datetime) -> datetime:
    if at <= datetime.now(UTC) or at.year > _LAST_YEAR:
        raise ValueError(f"must be later than now, and before the year {_LAST_YEAR + 1}")
    return at


def _one_rate(text: str) -> str:
    try:
        (rate,) = parse_many(text)
    except ValueError:
        raise ValueError("must be a rate such as 10/minute") from None
    if rate.amount < 1:
        raise ValueError("must allow at least one request")
    return text


Expiry = Annotated[AwareDatetime, BeforeValidator(_as_time), AfterValidator(_in_the_future)]
Rate = Annotated[Text, Field(min_length=3, max_length=40, examples=["10/minute"]), AfterValidator(_one_rate)]


class LimitsBody(Body):
    """Limits of one key, beside those of its user. What is left out has no limit of its own."""

    generations: Rate | None = Field(None, description="Generations, such as 10/minute")
    reads: Rate | None = Field(None, description="All other requests")
    max_streams: int | None = Field(None, ge=1, le=MOST_STREAMS, description="Streams that are open at once")
    budget: BudgetBody | None = Field(None, description="Tokens and money")

    @property
    def limits(self) -> KeyLimits:
        """The limits as values."""
        budget = self.budget.budget if self.budget else UNLIMITED
        return KeyLimits(self.generations, self.reads, self.max_streams, budget=None if budget.is_unlimited else budget)


class NewKeyBody(Body):
    """A new key and its rights."""

    name: Title = Field(max_length=100, description="For you, to tell your keys apart")
    expires_at: Expiry | None = Field(None, description="Without it the key works until it is ended")
    scopes: list[Scope] | None = Field(
        None, min_length=1, max_length=3, description="generate and read when left out; admin needs the role"
    )
    models: list[ModelName] | None = Field(
        None, min_length=1, max_length=MOST_MODELS, description="The only models that it may use; all when left out"
    )
    limits: LimitsBody | None = None

    def rights(self, role: str | None) -> KeyRights:
        """The rights of the new key; ``role`` is what the scope admin gives it."""
        scopes: frozenset[Scope] = frozenset(self.scopes or ("generate", "read"))
        return KeyRights(
            name=self.name,
            scopes=scopes,
            role=role if "admin" in scopes else None,
            models=tuple(dict.fromkeys(self.models)) if self.models is not None else None,
            limits=self.limits.limits if self.limits else KeyLimits(),
            expires_at=self.expires_at,
        )


class ChangeKeyBody(Body):
    """The name or the limits of a key to change; `limits` replaces all of them."""

    name: Title | None = Field(None, max_length=100)
    limits: LimitsBody | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> ChangeKeyBody:
        if self.name is None and self.limits is None:
            raise ValueError("one of name and limits is needed")
        return self


class RotateKeyBody(Body):
    """The time for which the old key goes on working."""

    keep_old_seconds: int = Field(
        0, ge=0, le=LONGEST_ROTATION_SECONDS, description="0: the old key ends at once. At most a week"
    )
