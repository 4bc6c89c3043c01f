"""Requests that the OpenAPI document allows, and many it forbids, made from the document alone by schemathesis."""

from __future__ import annotations

from io import BytesIO
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from flask_openapi3.openapi import OpenAPI
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from .conftest import Person

# Two checks of schemathesis are left out: the service ignores an unknown parameter, and sends 404 before 422.
CHECKED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    ignored_auth,
    unsupported_method,
]
# Examples of each operation and mode. A route asks who somebody is before it reads anything else: that a missing and
# an invented token are refused is probed, with two more requests, for the first examples only.
EXAMPLES = 5
PROBED = 3
# A valid request to these waits for an answer, and no worker runs here. tests/clients has valid requests to them.
UNENDING = {("post", "/v1/responses"), ("post", "/v1/chat/completions"), ("post", "/api/chat")}


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_the_api_keeps_to_its_document(app: OpenAPI, mode: GenerationMode):
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 12
    # One test function for all operations: schemathesis's own plugin does not support this pytest.
    for operation in operations:
        unending = (operation.method.lower(), operation.path) in UNENDING and mode is GenerationMode.POSITIVE
        if not operation.path.endswith(("/stream", "/events", "/feed")) and not unending:
            _try(app, operation, mode)


def _try(app: OpenAPI, operation: APIOperation, mode: GenerationMode) -> None:
    person = Person(app.test_client(), f"reader-{uuid4().hex[:8]}")
    # On routes that also accept a ticket, schemathesis takes the token for an invented one. Tickets have other tests.
    ticketed = {"ticket": []} in operation.definition.raw["security"]
    unprobed = [check for check in CHECKED if check is not ignored_auth]
    checks = unprobed if ticketed else CHECKED
    examples = count()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        # A live stream does not end by itself. Other tests check its form.
        assume(not (isinstance(case.body, dict) and case.body.get("stream")))
        if isinstance(case.query, dict):
            case.query.pop("wait", None)
            case.query.pop("stream", None)
        if mode is GenerationMode.POSITIVE and case.path_parameters:
            # Generated ids would all be unknown.
            case.path_parameters = _real(person, operation, set(case.path_parameters))
        case.headers.pop("Accept", None)
        # An invented session cookie beside the token, which wins, would look like an accepted one.
        case.cookies.clear()
        # Headers go beside the case: in a case without headers, schemathesis takes the token for an invented one.
        case.call_and_validate(checks=checks if next(examples) < PROBED else unprobed, headers=person.headers)

    try:
        ask()
    except Unsatisfiable:
        # Some operations have no invalid request.
        assert mode is GenerationMode.NEGATIVE


def _real(person: Person, operation: APIOperation, names: set[str]) -> dict[str, str]:
    """New objects' ids for the path parameters of an operation; only those are made that it names."""
    # A token has no session, no service account and no worker (name) is the person's, and no answer has ended yet.
    real = {name: str(uuid4()) for name in names & {"account_id", "session_id", "delivery_id", "name"}}
    if "endpoint_id" in names:
        # The test of an endpoint that exists waits for a worker.
        real["endpoint_id"] = f"we_{uuid4().hex}"
    if "file_id" in names:
        form = {"file": (BytesIO(b"hello"), "a.txt")}
        real["file_id"] = person.post("/api/v1/files", data=form, content_type="multipart/form-data").json["id"]
    if "upload_id" in names:
        begun = person.post("/api/v1/uploads", json={"filename": "a.txt", "bytes": 5})
        # The number of pending uploads has a limit.
        real["upload_id"] = begun.json["id"] if begun.status_code == 201 else f"upload_{uuid4().hex}"
    if "key_id" in names:
        real["key_id"] = person.post("/api/v1/api-keys", json={"name": "x"}).json["id"]
    if "user_id" in names:
        real["user_id"] = person.get("/api/v1/me").json["id"]
    if names - real.keys():
        real |= _ids(person.start(), native=operation.path.startswith("/api/"))
    return {name: real[name] for name in names}


def _ids(made: dict[str, Any], *, native: bool) -> dict[str, str]:
    """The ids of new objects by the names of path parameters, in the native or in OpenAI's form."""
    conversation, message = made["conversation"]["id"], made["message"]["message_id"]
    return {
        "generation_id": made["generation"]["id"],
        "conversation_id": conversation if native else f"conv_{conversation.replace('-', '')}",
        "message_id": message,
        "chat_id": conversation,
        "response_id": f"resp_{made['generation']['id'].replace('-', '')}",
        "item_id": f"msg_{message.replace('-', '')}000",
        "model": "offline",
    }
