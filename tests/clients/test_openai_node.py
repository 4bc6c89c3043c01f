"""OpenAI's Node SDK, unmodified, against a real instance. node/openai.mjs has the scenarios."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.clients.conftest import Site
from tests.clients.node import HERE, installed, node
from tests.fakes.proxy import TcpProxy

pytestmark = pytest.mark.slow

SCRIPT = HERE / "openai.mjs"
SECONDS = 300


def run(site: Site, scenario: str, at: Callable[[], None] = lambda: None, **variables: str) -> Any:
    """The result that a scenario prints. ``at`` is called when the scenario prints its mark."""
    installed()
    given = {"BASE_URL": site.base_url, "API_KEY": site.key(), "OTHER_KEY": site.key("bob"), **variables}
    process = node(SCRIPT, scenario, **given)
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.strip().isdigit():
                at()
        _, errors = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return json.loads(lines[-1])


def test_create_waits_for_the_answer_and_retrieve_gives_the_same_object(site: Site) -> None:
    assert run(site, "create") == {"status": "completed", "long": True, "same": True}


def test_an_upload_in_parts_becomes_a_file(site: Site) -> None:
    refusal = ["ConflictError", 409, True, True]
    assert run(site, "upload") == {"status": "completed", "same": True, "cancelled": "cancelled", "again": refusal}


def test_stream_says_what_the_object_has(site: Site) -> None:
    assert run(site, "stream") == {"type": "response.completed", "gapless": True, "text": True, "same": True}


def test_a_background_stream_dropped_midway_goes_on_where_it_was(site: Site) -> None:
    assert run(site, "resume") == {"gapless": True, "text": True, "replay": True, "nothing": 0}


def test_a_connection_cut_by_the_network_throws_and_can_be_resumed(site: Site) -> None:
    with TcpProxy.before(site.web.url) as proxy:
        seen = run(site, "cut", proxy.cut, BASE_URL=f"{proxy.url(site.web.url)}/v1")
    assert seen == {"error": "TypeError", "gapless": True, "text": True}


def test_background_is_answered_at_once_and_polled(site: Site) -> None:
    assert run(site, "poll") == {"began": True, "status": "completed"}


def test_cancel_midway_keeps_what_was_said_and_ends_the_stream(site: Site) -> None:
    assert run(site, "cancel") == {"type": "response.incomplete", "status": "cancelled", "text": True, "same": True}


def test_the_same_idempotency_key_is_the_same_response(site: Site) -> None:
    assert run(site, "idempotency") == {
        "one": 1,
        "streamed": True,
        "reused": ["UnprocessableEntityError", 422, True, True],
        "others": True,
    }


def test_refusals_become_the_sdks_exceptions(site: Site) -> None:
    assert run(site, "errors") == {
        "invalid": ["BadRequestError", 400, True, True],
        "unoffered": ["BadRequestError", 400, True, True],
        "key": ["AuthenticationError", 401, True, True],
        "missing": ["NotFoundError", 404, True, True],
        "others": ["NotFoundError", 404, True, True],
        "others_stream": ["NotFoundError", 404, True, True],
        "busy": ["ConflictError", 409, True, True],
        "route": ["NotFoundError", 404, True, True],
        "failed": ["InternalServerError", 502, True, True],
    }


def test_too_many_requests_are_a_rate_limit_error(site: Site) -> None:
    narrow = site.stack.web(RATELIMIT_READS="2/minute")
    try:
        key = site.key(f"busy-{uuid4().hex}")
        seen = run(site, "rate_limit", BASE_URL=f"{narrow.url}/v1", API_KEY=key)
    finally:
        narrow.kill()
    assert seen == ["RateLimitError", 429, True, True]


def test_two_readers_of_one_response_see_the_same(site: Site) -> None:
    assert run(site, "readers") == {"same": True, "text": True}


def test_the_stream_helper_ends_with_the_whole_response(site: Site) -> None:
    assert run(site, "helper") == {"thought": True, "items": ["reasoning", "message"], "text": True, "first": 11}


def test_the_stream_helper_survives_a_cancellation(site: Site) -> None:
    assert run(site, "helper_cancelled") == {"type": "response.incomplete", "status": "cancelled"}


def test_an_answer_begun_anew_goes_on_in_a_new_item(site: Site) -> None:
    site.add_model("anew", "fake?tokens=30&rate=20&cut_after=15&once=true", "restart")
    assert run(site, "anew") == {"items": ["incomplete", "completed"], "text": True}


def test_functions_are_the_clients_own(site: Site) -> None:
    seen = run(site, "tools")
    assert seen == {"call": ["function_call", "call_node", "add", seen["call"][3]], "status": "completed"}
    assert json.loads(seen["call"][3]) == {"a": 1}


def test_conversations_collect_items_that_can_be_paged_and_deleted(site: Site) -> None:
    assert run(site, "conversations") == {
        "listed": 7,
        "last": True,
        "inputs": 1,
        "deleted": True,
        "gone": ["NotFoundError", 404, True, True],
    }


def test_deleted_means_gone(site: Site) -> None:
    assert run(site, "deleted") == ["NotFoundError", 404, True, True]


def test_models_can_be_listed_and_retrieved(site: Site) -> None:
    seen = run(site, "models")
    assert {"offline", "offline-fast", "fake/with-slash"} <= set(seen["names"])
    assert seen["one"] == "fake/with-slash"


def test_chat_completions_whole_and_in_chunks(site: Site) -> None:
    assert run(site, "chat") == {"text": True, "helped": True, "usage": True}


def test_a_worker_killed_in_the_middle_is_not_noticed(site: Site) -> None:
    seen = run(site, "killed", site.kill_worker)
    assert seen == {"id": seen["id"], "type": "response.completed", "gapless": True, "text": True, "replay": True}
