"""Models: which can be asked, and what they are, as administrators change it.

Other processes know a change after a few seconds. One file for a path: the document has each path once.
"""

from __future__ import annotations

from urllib.parse import quote

from flask import Response
from pydantic import ConfigDict, Field

from app.api import render, shapes
from app.api.fields import ModelName
from app.api.identity import Caller
from app.api.process import web
from app.api.reading import Body, Path, check
from app.api.routing import Answer, Routes
from app.domain.models import ModelSpec
from app.services.configuring import spec_of

routes = Routes("models", __name__, "/api/v1", "Which models answer; what they are, for administrators")


class ModelPath(Path):
    """Which model. A name may contain slashes."""

    model: ModelName


class NewModelBody(ModelSpec):
    """A new model."""

    name: ModelName


class ChangeModelBody(Body):
    """What to change of a model: any part of what `PUT` takes. `null` empties what can be empty."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    enabled: bool | None = Field(None, description="false: it is not asked any more, and keeps its name")


_ONE = Answer(200, "The model", shapes.ModelConfiguration)


@routes.route_for(
    "get",
    "/models",
    access="user",
    limit="reads",
    answers=(Answer(200, "The models", shapes.ModelList),),
)
def list_models(caller: Caller) -> Response:
    """Every model that can be asked."""
    return render.answer(render.offers(web().resources.catalogue.offers()))


@routes.route_for(
    "get",
    "/models/all",
    access="admin",
    limit="reads",
    answers=(Answer(200, "All of them, also those that are switched off", shapes.ModelConfigurations),),
)
def list_all_models(caller: Caller) -> Response:
    """Every model with everything about it."""
    return render.answer(render.models(web().resources.configurator.every()))


@routes.route_for("get", "/models/<path:model>", access="admin", limit="reads", answers=(_ONE,))
def get_model(caller: Caller, path: ModelPath) -> Response:
    """One model with everything about it."""
    return render.answer(render.model(web().resources.configurator.get(path.model)))


@routes.route_for(
    "post",
    "/models",
    access="admin",
    limit="reads",
    answers=(Answer(201, "The model", shapes.ModelConfiguration, headers=("Location",)),),
)
def add_model(caller: Caller, body: NewModelBody) -> Response:
    """A new model."""
    spec = check(ModelSpec, body.model_dump(exclude={"name"}))
    added = web().resources.configurator.add(body.name, spec)
    return render.answer(render.model(added), 201, {"Location": f"/api/v1/models/{quote(body.name)}"})


@routes.route_for(
    "put",
    "/models/<path:model>",
    access="admin",
    limit="reads",
    answers=(_ONE, Answer(201, "It is a new one", shapes.ModelConfiguration)),
)
def put_model(caller: Caller, path: ModelPath, body: ModelSpec) -> Response:
    """Make a model what this says, whether it exists or not."""
    model, is_new = web().resources.configurator.put(path.model, body)
    return render.answer(render.model(model), 201 if is_new else 200)


@routes.route_for("patch", "/models/<path:model>", access="admin", limit="reads", answers=(_ONE,))
def change_model(caller: Caller, path: ModelPath, body: ChangeModelBody) -> Response:
    """Change a part of a model."""
    configurator = web().resources.configurator
    said = spec_of(configurator.get(path.model)).model_dump() | body.model_dump(exclude_unset=True)
    model, _ = configurator.put(path.model, check(ModelSpec, said))
    return render.answer(render.model(model))


@routes.route_for(
    "delete",
    "/models/<path:model>",
    access="admin",
    limit="reads",
    answers=(
        Answer(200, "It was used, so it is switched off and keeps its name", shapes.ModelConfiguration),
        Answer(204, "It is gone"),
    ),
)
def delete_model(caller: Caller, path: ModelPath) -> Response:
    """Delete a model, or switch it off where conversations know it."""
    left = web().resources.configurator.remove(path.model)
    return Response(status=204) if left is None else render.answer(render.model(left))
