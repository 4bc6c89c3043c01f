"""The budgets of users, for administrators."""

from __future__ import annotations

from flask import Response

from app.api.auth.actor import actor_of
from app.api.auth.caller import Caller
from app.api.budget_body import UserBudgetBody
from app.api.fields import Id
from app.api.json_response import respond
from app.api.representations.budgets import UserBudget
from app.api.request_parsing import Path
from app.api.routing import Answer, Routes
from app.api.web_process import web

routes = Routes("budgets", __name__, "/api/v1/ops", "Budgets of users, for administrators")

_ANSWERS = (Answer(200, "The limits set for this user, and how all limits stand", UserBudget),)


class UserPath(Path):
    """The id of a user."""

    user_id: Id


@routes.route_for("get", "/users/<user_id>/budget", access="operator", limit="reads", answers=_ANSWERS)
def get_budget(path: UserPath) -> Response:
    """The budget of a user, and what is used of it."""
    return respond(UserBudget.of(web().resources.budgets.of_user(path.user_id)))


@routes.route_for("put", "/users/<user_id>/budget", access="admin", limit="reads", answers=_ANSWERS)
def put_budget(caller: Caller, path: UserPath, body: UserBudgetBody) -> Response:
    """Set the budget of a user. It holds from the next request on."""
    return respond(UserBudget.of(web().resources.budgets.put(actor_of(caller), path.user_id, body.limits)))
