"""What was used, and what it cost."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from flask import Response
from pydantic import Field

from app.api import render, shapes
from app.api.fields import ModelName
from app.api.identity import Caller
from app.api.process import web
from app.api.reading import Query
from app.api.routing import Answer, Routes
from app.domain.errors import InvalidInput

LONGEST_DAYS = 366
USUAL_DAYS = 30

routes = Routes("usage", __name__, "/api/v1", "Tokens and costs")


class UsageQuery(Query):
    """Which days, in UTC."""

    from_: date | None = Field(None, alias="from", description="The first day; thirty days in all when left out")
    to: date | None = Field(None, description="The last day; today when left out")
    model: ModelName | None = None

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
    answers=(Answer(200, "Each day with each model, the newest first", shapes.Usage),),
)
def get_usage(caller: Caller, query: UsageQuery) -> Response:
    """What you have used."""
    first, last = query.period()
    return render.answer(render.usage(web().resources.accounting.statement(caller.user, first, last, query.model)))
