"""The route of the search."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import AfterValidator, Field, StringConstraints

from app.api.auth.caller import Caller
from app.api.json_response import respond
from app.api.representations.search import SearchPage
from app.api.request_parsing import Query, Text
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.domain.commands import Search
from app.domain.storable import storable

routes = Routes("search", __name__, "/api/v1", "Full text search")

Question = Annotated[
    str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True), AfterValidator(storable)
]


class SearchQuery(Query):
    """The words, and the size of a page."""

    q: Question = Field(
        description='Words that must all be there; "a phrase", this or that, -without. Of the last word the '
        "beginning will do, in titles and the newest thousand messages. Where whole words do not fill a page, parts of "
        "words with three letters or more are found in the newest thousand messages and titles",
    )
    limit: int = Field(20, ge=1, le=50)
    cursor: Text | None = Field(None, max_length=200, description="next_cursor of the page before")


@routes.route_for(
    "get",
    "/search",
    access="user",
    limit="reads",
    answers=(Answer(200, "A page, newest first", SearchPage),),
)
def search_messages(caller: Caller, query: SearchQuery) -> Response:
    """The user's messages and titles that have these words."""
    command = Search(query.q, query.limit, query.cursor)
    return respond(SearchPage.of(web().resources.search.search(caller.user, command)))
