"""The route of tokens and costs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from flask import Response
from pydantic import Field

from app.api.auth.caller import Caller
from app.api.fields import ModelName
from app.api.json_response import respond
from app.api.representations.usage import Usage
from app.api.request_parsing import Query, Text
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.domain.errors import InvalidInput

LONGEST_DAYS = 366
USUAL_DAYS = 30

KeyId = Annotated[Text, Field(min_length=1, max_length=100)]

routes = Routes("usage", __name__, "/api/v1", "Tokens and costs")


class UsageQuery(Query):
    """The days, in UTC; the usage that counts; and what a row stands for."""

    from_: date | None = Field(None, alias="from", description="The first day; thirty days in all when left out")
    to: date | None = Field(None, description="The last day; today when left out")
    model: ModelName | None = Field(None, description="Only usage of this model")
    key_id: KeyId | None = Field(None, description="Only usage of this API key")
    group: Literal["day", "model", "key"] | None = Field(
        None, description="A row for each day, model or API key; for each day of each model when left out"
    )

    def period(self) -> tuple[date, date]:
        """The first and the last day. Raises InvalidInput."""
        last = self.to or datetime.now(UTC).date()
        try:
            first = self.from_ or last - timedelta(days=USUAL_DAYS - 1)
        except OverflowError:
            raise InvalidInput("to: is too long ago", "to") from None
        if not 0 <= (last - first).days < LONGEST_DAYS:
            raise InvalidInput(f"from: must be a day before or at the last, by at most {LONGEST_DAYS} days", "from")
        return first, last


@routes.route_for(
    "get",
    "/usage",
    access="user",
    limit="reads",
    answers=(Answer(200, "Each day with each model, the newest first; or as group says", Usage),),
)
def get_usage(caller: Caller, query: UsageQuery) -> Response:
    """Your usage."""
    first, last = query.period()
    statement = web().resources.usage.statement(
        caller.user, first, last, group=query.group, model=query.model, key_id=query.key_id
    )
    return respond(Usage.of(statement, web().resources.budgets.standings(caller.user)))
