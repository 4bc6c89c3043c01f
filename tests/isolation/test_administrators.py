"""The routes that are declared for administrators accept the role `admin` and nothing similar."""

from __future__ import annotations

import re
import time
from typing import Any

import jwt
import pytest
from flask_openapi3.openapi import OpenAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.api.conftest import SECRET, Person, token

METHODS = ("get", "post", "put", "patch", "delete")
SOMETHING = "01930000-0000-7000-8000-000000000001"
NO_ADMINISTRATORS: list[Any] = [
    "user", "", "Admin", "ADMIN", "admin ", " admin", "administrator", "admin,user", "operator", "root", "true", "*",
    "support", "Support",
    ["admin"], ["user", "admin"], {"admin": True}, {"name": "admin"}, True, 1, 0, None, "аdmin", "admin\u0000",
]  # fmt: skip


def addresses(app: OpenAPI, access: str) -> list[tuple[str, str]]:
    """Method and path of each route that is declared with an access, with something in the place of its parts."""
    return [
        (method.lower(), re.sub(r"<[^>]*>", lambda part: "offline" if "model" in part[0] else SOMETHING, rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method.lower() in METHODS and getattr(app.view_functions[rule.endpoint], "access", None) == access
    ]


def for_administrators(app: OpenAPI) -> list[tuple[str, str]]:
    """The routes for administrators alone."""
    return addresses(app, "admin")


def for_operators(app: OpenAPI) -> list[tuple[str, str]]:
    """The routes for administrators, and for operators, who look only."""
    return addresses(app, "operator")


def for_support(app: OpenAPI) -> list[tuple[str, str]]:
    """The routes for support alone."""
    return addresses(app, "support")


def with_role(app: OpenAPI, role: Any) -> Person:
    person = Person(app.test_client(), "mallory")
    person.headers["Authorization"] = f"Bearer {token('mallory', role=role)}"
    return person


def test_the_document_names_the_routes_of_administrators(app: OpenAPI) -> None:
    assert ("delete", "/api/v1/models/offline") in for_administrators(app)
    found = for_operators(app)
    assert ("get", "/api/v1/ops/audit") in found
    assert {method for method, _ in found} == {"get"}
    assert for_support(app) == [("post", f"/api/v1/ops/generations/{SOMETHING}/text")]
    restricted = {*found, *for_administrators(app), *for_support(app)}
    document = app.test_client().get("/openapi.json").json
    operators = [path for path in document["paths"] if path.startswith(("/api/v1/ops/", "/api/v1/models"))]
    assert operators
    for path in operators:
        for method, operation in document["paths"][path].items():
            if method not in METHODS or (method, path) == ("get", "/api/v1/models"):
                continue
            address = re.sub(r"{[^}]*}", lambda part: "offline" if "model" in part[0] else SOMETHING, path)
            assert (method, address) in restricted
            assert "403" in operation["responses"], (method, path)


@pytest.mark.parametrize("role", NO_ADMINISTRATORS, ids=repr)
def test_no_other_role_is_let_in(app: OpenAPI, role: Any) -> None:
    person = with_role(app, role)
    closed = for_administrators(app) + ([] if role in ("operator", "support") else for_operators(app))
    closed += [] if role == "support" else for_support(app)
    for method, path in closed:
        answer = person._ask(method.upper(), path, {"json": {}} if method != "get" else {})
        assert answer.status_code in (401, 403), (method, path, answer.text)
        assert answer.status_code == 403 or not isinstance(role, str), (method, path, answer.text)


@pytest.mark.parametrize("role", ["operator", "support"])
def test_an_operator_looks(app: OpenAPI, role: str) -> None:
    person = with_role(app, role)
    for _, path in for_operators(app):
        # 404: what is named does not exist.
        assert person.get(path).status_code in (200, 404), path


@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(role=st.text(max_size=20).filter(lambda role: role not in ("admin", "operator", "support")))
def test_no_text_but_admin_is_the_role(app: OpenAPI, role: str) -> None:
    person = with_role(app, role)
    for method, path in for_administrators(app) + for_operators(app) + for_support(app):
        assert person._ask(method.upper(), path, {"json": {}} if method != "get" else {}).status_code == 403


def test_an_administrator_reads_no_text(app: OpenAPI) -> None:
    for method, path in for_support(app):
        answer = with_role(app, "admin")._ask(method.upper(), path, {"json": {"reason": "I want to."}})
        assert answer.status_code == 403
        assert answer.json["type"].endswith("/forbidden")


def test_a_token_without_a_role_is_not_let_in(app: OpenAPI, alice: Person) -> None:
    for method, path in for_administrators(app) + for_operators(app):
        assert alice._ask(method.upper(), path, {}).status_code == 403, (method, path)


def test_the_administrator_is(app: OpenAPI) -> None:
    person = with_role(app, "admin")
    for method, path in for_administrators(app) + for_operators(app):
        if method == "get":
            # 404: what is named does not exist.
            assert person.get(path).status_code in (200, 404), path


def test_a_role_in_another_claim_is_none(app: OpenAPI) -> None:
    now = int(time.time())
    claims = {"sub": "mallory", "iat": now, "exp": now + 600, "aud": "unbroken", "iss": "unbroken"}
    for more in ({"roles": ["admin"]}, {"scope": "admin"}, {"Role": "admin"}, {"user": {"role": "admin"}}):
        person = Person(app.test_client(), "mallory")
        person.headers["Authorization"] = f"Bearer {jwt.encode({**claims, **more}, SECRET, 'HS256')}"
        assert person.get("/api/v1/ops/generations").status_code == 403, more
