"""Stream tickets, for a browser's EventSource and other clients that can send no header Authorization."""

from __future__ import annotations

from typing import Literal

from flask import Response
from pydantic import Field, model_validator

from app.api.auth.caller import Caller
from app.api.fields import Id
from app.api.json_response import respond
from app.api.representations.account import StreamTicket
from app.api.request_parsing import Body
from app.api.routing import Answer, Routes
from app.api.web_process import web

routes = Routes("tickets", __name__, "/api/v1", "Streams for clients that can send no header")


class TicketBody(Body):
    """The stream that the ticket opens: exactly one of the three."""

    generation_id: Id | None = Field(None, description="A generation's stream, also as a response of /v1")
    conversation_id: Id | None = Field(None, description="A conversation's feed")
    feed: Literal[True] | None = Field(None, description="The feed of everything")

    @model_validator(mode="after")
    def _is_one(self) -> TicketBody:
        if [self.generation_id, self.conversation_id, self.feed].count(None) != 2:
            raise ValueError("exactly one of generation_id, conversation_id and feed is needed")
        return self


@routes.route_for(
    "post",
    "/stream-tickets",
    access="reader",
    limit="reads",
    answers=(Answer(200, "The ticket", StreamTicket),),
    refusals=(404,),
)
def issue_stream_ticket(caller: Caller, body: TicketBody) -> Response:
    """A ticket that opens one stream within a minute, and reconnects it for a quarter of an hour."""
    tickets = web().resources.tickets
    if body.generation_id is not None:
        ticket = tickets.for_generation(caller.user, body.generation_id, caller.expires_at)
    elif body.feed:
        ticket = tickets.for_feed(caller.user, caller.expires_at)
    else:
        assert body.conversation_id is not None, "one of the three is given"
        ticket = tickets.for_conversation(caller.user, body.conversation_id, caller.expires_at)
    return respond({"ticket": ticket.text, "expires_at": ticket.expires_at})
