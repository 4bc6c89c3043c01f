"""Everything the OpenAPI document allows, and much it does not, asked by somebody who only read the document."""

from __future__ import annotations

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

# What it means by these is not what we promise: an unknown parameter is ignored, 404 comes before 422.
CHECKED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    ignored_auth,
    unsupported_method,
]


# What is asked for rightly there ends when the answer does, and nobody works here: tests/clients asks rightly.
UNENDING = {("post", "/v1/responses"), ("post", "/v1/chat/completions"), ("post", "/api/chat")}


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_the_api_keeps_to_its_document(app: OpenAPI, mode: GenerationMode):
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 12
    # One test function for all of them: schemathesis's own plugin does not know this pytest.
    for operation in operations:
        unending = (operation.method.lower(), operation.path) in UNENDING and mode is GenerationMode.POSITIVE
        if not operation.path.endswith(("/stream", "/events", "/feed")) and not unending:
            _try(app, operation, mode)


def _try(app: OpenAPI, operation: APIOperation, mode: GenerationMode) -> None:
    person = Person(app.test_client(), f"reader-{uuid4().hex[:8]}")
    # Where a ticket will do as well, it takes our token for one that was made up. Tickets have tests of their own.
    ticketed = {"ticket": []} in operation.definition.raw["security"]
    checks = [check for check in CHECKED if not (ticketed and check is ignored_auth)]

    @settings(
        max_examples=12,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        # A live stream does not end by itself; what it looks like is tested elsewhere.
        assume(not (isinstance(case.body, dict) and case.body.get("stream")))
        if isinstance(case.query, dict):
            case.query.pop("wait", None)
            case.query.pop("stream", None)
        if mode is GenerationMode.POSITIVE and case.path_parameters:
            # Ids out of the blue are only ever unknown.
            real = _ids(person.start(), native=operation.path.startswith("/api/"))
            case.path_parameters = {name: real[name] for name in case.path_parameters}
        case.headers.pop("Accept", None)
        # Beside the case and not in it: of a case without headers it would take our token for one that it made up.
        case.call_and_validate(checks=checks, headers=person.headers)

    try:
        ask()
    except Unsatisfiable:
        # Some operations cannot be asked in a wrong way.
        assert mode is GenerationMode.NEGATIVE


def _ids(made: dict[str, Any], *, native: bool) -> dict[str, str]:
    """What was just made, as a path names it."""
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
