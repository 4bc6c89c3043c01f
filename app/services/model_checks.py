"""The refusals of a model for a request: the caller's credential, and the form of the answer."""

from __future__ import annotations

from typing import Any

from app.domain.answer_format import UNLIMITED, InvalidAnswerFormat, accepted, simple_answer
from app.domain.commands import User
from app.domain.errors import InvalidInput, ModelNotAllowed
from app.domain.json_example import NoExample
from app.domain.models import BUILT_IN_PROVIDERS
from app.store.model_configs import Model


def check_allowed(user: User, name: str) -> None:
    """Refuse a model that the caller's credential may not use. Raises ModelNotAllowed."""
    if not user.credential.may_use(name):
        raise ModelNotAllowed(name)


def check_form(model: Model, parameters: dict[str, Any]) -> None:
    """Refuse a form of the answer that a built-in model cannot make. Raises InvalidInput."""
    wanted = {**model.parameters, **parameters}.get("response_format")
    if model.provider not in BUILT_IN_PROVIDERS or wanted is None:
        return
    try:
        if (form := accepted(wanted, UNLIMITED)) is not None:
            simple_answer(form)
    except (InvalidAnswerFormat, NoExample):
        detail = f"The built-in model {model.name!r} cannot answer in this form; name a model of an upstream."
        raise InvalidInput(detail, "response_format") from None
