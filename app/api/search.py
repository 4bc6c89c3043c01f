"""Finding what was said."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import AfterValidator, Field, StringConstraints

from app.api import render, shapes
from app.api.identity import Caller
from app.api.process import web
from app.api.reading import Query, Text
from app.api.routing import Answer, Routes
from app.domain.commands import Search
from app.domain.storable import storable

routes = Routes("search", __name__, "/api/v1", "Full text search")

Question = Annotated[
    str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True), AfterValidator(storable)
]


class SearchQuery(Query):
    """What to look for."""

    q: Question = Field(
        description='Words that must all be there; "a phrase", this or that, -without. Of the last word the '
        "beginning will do, in titles and the newest thousand messages",
    )
    limit: int = Field(20, ge=1, le=50)
    cursor: Text | None = Field(None, max_length=200, description="next_cursor of the page before")


@routes.route_for(
    "get",
    "/search",
    access="user",
    limit="reads",
    answers=(Answer(200, "A page, newest first", shapes.SearchPage),),
)
def search_messages(caller: Caller, query: SearchQuery) -> Response:
    """The user's messages and titles that have these words."""
    command = Search(query.q, query.limit, query.cursor)
    return render.answer(render.found_page(web().resources.searcher.search(caller.user, command)))
