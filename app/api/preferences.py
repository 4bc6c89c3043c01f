"""Routes of a user's preferences."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Response
from pydantic import Field

from app.api.auth.caller import Caller
from app.api.fields import ModelName, ParametersBody, SystemPrompt
from app.api.json_response import respond
from app.api.representations.preferences import Preferences
from app.api.request_parsing import Body
from app.api.routing import Answer, Routes
from app.api.web_process import web

routes = Routes("preferences", __name__, "/api/v1", "Your choices, the same in every browser")

Language = Annotated[str, Field(max_length=35, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")]


class PreferencesBody(Body):
    """The choices to change. A field that is left out stays; `null` takes a choice back."""

    theme: Literal["system", "light", "dark"] | None = None
    language: Language | None = None
    model: ModelName | None = Field(None, description="Answers in conversations without a model of their own")
    system_prompt: SystemPrompt | None = Field(None, description="A new conversation begins with it")
    parameters: ParametersBody | None = Field(None, description="A new conversation begins with them")


@routes.route_for(
    "get",
    "/me/preferences",
    access="user",
    limit="reads",
    answers=(Answer(200, "The preferences", Preferences),),
)
def get_preferences(caller: Caller) -> Response:
    """Your preferences."""
    return respond(Preferences.of(web().resources.for_people.preferences.get(caller.user)))


@routes.route_for(
    "patch",
    "/me/preferences",
    access="person",
    limit="reads",
    answers=(Answer(200, "The preferences as they are now", Preferences),),
)
def change_preferences(caller: Caller, body: PreferencesBody) -> Response:
    """Change your preferences. They are for the page, and for conversations that are begun over `/api/v1`."""
    given = body.model_dump(exclude_unset=True)
    if given.get("parameters"):
        given["parameters"] = {name: value for name, value in given["parameters"].items() if value is not None}
    for name in ("system_prompt", "parameters"):
        if not given.get(name, True):
            given[name] = None
    return respond(Preferences.of(web().resources.for_people.preferences.change(caller.user, given)))
