"""Routes of models: the list for users, and the configurations for administrators.

A change is in force everywhere when its response is sent.
"""

from __future__ import annotations

from urllib.parse import quote

from flask import Response
from pydantic import ConfigDict, Field

from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller
from app.api.fields import ModelName
from app.api.json_response import respond
from app.api.representations.models import ModelConfiguration, ModelConfigurations, ModelList
from app.api.request_parsing import Body, Path, check
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.domain.models import ModelSpec, changed

routes = Routes("models", __name__, "/api/v1", "Models, and their configurations for administrators")


class ModelPath(Path):
    """The name of a model, which may contain slashes."""

    model: ModelName


class NewModelBody(ModelSpec):
    """A new model."""

    name: ModelName


class ChangeModelBody(Body):
    """The fields of a model to change, as `PUT` takes them. `null` empties a field that can be empty."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    enabled: bool | None = Field(None, description="false: the model cannot be chosen, and keeps its name")


_ONE = Answer(200, "The model", ModelConfiguration)


@routes.route_for(
    "get",
    "/models",
    access="user",
    limit="reads",
    answers=(Answer(200, "The models", ModelList),),
)
def list_models(caller: Caller) -> Response:
    """Every model that can be chosen with this token or key."""
    offers = web().resources.model_catalog.offers()
    return respond(ModelList.of([offer for offer in offers if caller.user.credential.may_use(offer.name)]))


@routes.route_for(
    "get",
    "/models/all",
    access="admin",
    limit="reads",
    answers=(Answer(200, "All of them, also those that are switched off", ModelConfigurations),),
)
def list_all_models() -> Response:
    """Every model with everything about it."""
    return respond(ModelConfigurations.of(web().resources.model_admin.every()))


@routes.route_for("get", "/models/<path:model>", access="admin", limit="reads", answers=(_ONE,))
def get_model(caller: Caller, path: ModelPath) -> Response:
    """One model with everything about it."""
    return respond(ModelConfiguration.of(web().resources.model_admin.get(path.model)))


@routes.route_for(
    "post",
    "/models",
    access="admin",
    limit="reads",
    answers=(Answer(201, "The model", ModelConfiguration, headers=("Location",)),),
)
def add_model(caller: Caller, body: NewModelBody) -> Response:
    """A new model."""
    spec = check(ModelSpec, body.model_dump(exclude={"name"}))
    added = web().resources.model_admin.add(body.name, spec, actor_of(caller))
    return respond(ModelConfiguration.of(added), 201, {"Location": f"/api/v1/models/{quote(body.name)}"})


@routes.route_for(
    "put",
    "/models/<path:model>",
    access="admin",
    limit="reads",
    answers=(_ONE, Answer(201, "It is a new one", ModelConfiguration)),
)
def put_model(caller: Caller, path: ModelPath, body: ModelSpec) -> Response:
    """Create a model, or replace its configuration."""
    model, is_new = web().resources.model_admin.put(path.model, body, actor_of(caller))
    return respond(ModelConfiguration.of(model), 201 if is_new else 200)


@routes.route_for("patch", "/models/<path:model>", access="admin", limit="reads", answers=(_ONE,))
def change_model(caller: Caller, path: ModelPath, body: ChangeModelBody) -> Response:
    """Change a part of a model."""
    given = body.model_dump(exclude_unset=True)
    model = web().resources.model_admin.change(
        path.model, lambda old: check(ModelSpec, changed(old, given)), actor_of(caller)
    )
    return respond(ModelConfiguration.of(model))


@routes.route_for(
    "delete",
    "/models/<path:model>",
    access="admin",
    limit="reads",
    answers=(
        Answer(200, "It was used, so it is switched off and keeps its name", ModelConfiguration),
        Answer(204, "It is gone"),
    ),
)
def delete_model(caller: Caller, path: ModelPath) -> Response:
    """Delete a model, or switch it off where conversations know it."""
    left = web().resources.model_admin.remove(path.model, actor_of(caller))
    return Response(status=204) if left is None else respond(ModelConfiguration.of(left))
