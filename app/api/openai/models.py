"""Routes for models."""

from __future__ import annotations

from typing import Any

from flask import Response

from app.api.auth.caller import Caller
from app.api.json_response import respond
from app.api.openai import shapes
from app.api.openai.bodies import ModelPath
from app.api.routing import Answer, Routes
from app.api.web_process import web
from app.services.model_catalog import UnknownModel

routes = Routes("openai_models", __name__, "/v1", "OpenAI-compatible: models", refusal="OpenAIError")


@routes.route_for(
    "get", "/models", access="user", limit="reads", answers=(Answer(200, "All models", shapes.OpenAIModels),)
)
def list_openai_models(caller: Caller) -> Response:
    """List the models that can answer."""
    offers, may_use = web().resources.model_catalog.offers(), caller.user.credential.may_use
    return respond(
        {"object": "list", "data": [_view(offer.name, offer.provider) for offer in offers if may_use(offer.name)]}
    )


@routes.route_for(
    "get", "/models/<path:model>", access="user", limit="reads", answers=(Answer(200, "The model", shapes.OpenAIModel),)
)
def get_openai_model(caller: Caller, path: ModelPath) -> Response:
    """Get a model that can answer: also one that no list names, where an upstream receives such names."""
    if not caller.user.credential.may_use(path.model):
        raise UnknownModel(path.model)
    model = web().resources.model_catalog.look_up(path.model)
    return respond(_view(model.name, model.provider))


def _view(name: str, provider: str) -> dict[str, Any]:
    # Upstreams do not report when a model was made.
    return {"id": name, "object": "model", "created": 0, "owned_by": provider}
