"""Models."""

from __future__ import annotations

from typing import Any

from flask import Response

from app.api import render
from app.api.identity import Caller
from app.api.openai import shapes
from app.api.openai.bodies import ModelPath
from app.api.process import web
from app.api.routing import Answer, Routes
from app.services.catalogue import Offer, UnknownModel

routes = Routes("openai_models", __name__, "/v1", "OpenAI-compatible: models", refusal="OpenAIError")


@routes.route_for(
    "get", "/models", access="user", limit="reads", answers=(Answer(200, "Every model", shapes.OpenAIModels),)
)
def list_openai_models(caller: Caller) -> Response:
    """Every model that can be asked."""
    return render.answer({"object": "list", "data": [_view(offer) for offer in web().resources.catalogue.offers()]})


@routes.route_for(
    "get", "/models/<path:model>", access="user", limit="reads", answers=(Answer(200, "The model", shapes.OpenAIModel),)
)
def get_openai_model(caller: Caller, path: ModelPath) -> Response:
    """One of them."""
    for offer in web().resources.catalogue.offers():
        if offer.name == path.model:
            return render.answer(_view(offer))
    raise UnknownModel(path.model)


def _view(offer: Offer) -> dict[str, Any]:
    # When it was made nobody tells us.
    return {"id": offer.name, "object": "model", "created": 0, "owned_by": offer.provider}
