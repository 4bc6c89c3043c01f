"""The Vercel AI SDK, unmodified, against a real instance. node/aisdk.mjs has the scenarios."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.clients.conftest import Site
from tests.clients.node import HERE, installed, node
from tests.fakes.proxy import TcpProxy

pytestmark = pytest.mark.slow

SCRIPT = HERE / "aisdk.mjs"
SECONDS = 300
PAIR = "user assistant"


def run(site: Site, scenario: str, at: Callable[[], None] = lambda: None, **variables: str) -> Any:
    """The result that a scenario prints. ``at`` is called when the scenario prints its mark."""
    installed()
    given = {"URL_": site.web.url, "TOKEN": site.key(), "OTHER": site.key("bob"), **variables}
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


def test_a_message_is_sent_and_its_answer_streamed(site: Site) -> None:
    assert run(site, "send") == {
        "status": "ready",
        "roles": PAIR,
        "parts": "step-start reasoning text",
        "text": True,
        "id": True,
        "usage": True,
        "told": {
            "finishes": [{"isAbort": False, "isDisconnect": False, "isError": False, "finishReason": "stop"}],
            "errors": [],
        },
    }


def test_a_chat_goes_on(site: Site) -> None:
    assert run(site, "talk") == {"roles": f"{PAIR} {PAIR}", "same": True}


def test_an_app_may_send_only_the_last_message(site: Site) -> None:
    assert run(site, "reduced") == {"status": "ready", "roles": f"{PAIR} {PAIR}"}


def test_a_connection_cut_by_the_network_is_resumed(site: Site) -> None:
    with TcpProxy.before(site.web.url) as proxy:
        seen = run(site, "drop", proxy.cut, URL_=proxy.url(site.web.url))
    assert seen == {"status": ["error", "ready"], "partial": True, "text": True, "roles": PAIR}


def test_who_comes_back_after_the_end_gets_the_whole_answer(site: Site) -> None:
    with TcpProxy.before(site.web.url) as proxy:
        seen = run(site, "late", proxy.cut, URL_=proxy.url(site.web.url))
    assert seen == {"grew": True, "text": True, "roles": PAIR}


def test_a_reloaded_page_resumes_into_one_message(site: Site) -> None:
    assert run(site, "reload") == {
        "began": "user",
        "roles": [PAIR, PAIR],
        "text": [True, True],
        "id": True,
        "status": ["completed", "ready", "ready"],
    }


def test_several_readers_see_one_answer(site: Site) -> None:
    assert run(site, "readers") == {"text": [True] * 3, "status": ["ready"] * 3}


def test_stop_and_resume_go_together(site: Site) -> None:
    assert run(site, "stop") == {
        "answered": {"success": True},
        "status": ["ready", "ready"],
        "made": "cancelled",
        "again": 204,
        "partial": True,
        "roles": f"{PAIR} {PAIR}",
    }


def test_a_closed_tab_does_not_stop_the_answer(site: Site) -> None:
    assert run(site, "away") == {"running": "running", "status": "ready", "text": True, "roles": PAIR}


def test_there_is_nothing_to_resume_in_an_unknown_chat_nor_in_anothers(site: Site) -> None:
    assert run(site, "unknown") == {
        "status": ["ready", "ready"],
        "roles": ["", ""],
        "told": {"finishes": [], "errors": []},
    }


def test_regenerate_replaces_the_answer(site: Site) -> None:
    assert run(site, "regenerate") == {"different": 3, "roles": PAIR, "kept": True}


def test_an_edited_message_begins_anew_from_there(site: Site) -> None:
    assert run(site, "edit") == {"roles": PAIR, "stored": ["user", "one, better"]}


def test_a_message_sent_twice_is_answered_once(site: Site) -> None:
    assert run(site, "retry") == {"same": True, "stored": 2}


def test_a_failure_is_the_hooks_error_also_after_a_reload(site: Site) -> None:
    seen = run(site, "fails")
    assert seen.pop("errors")[0]
    assert seen == {"status": ["error", "error"], "same": True, "roles": PAIR}


def test_a_refusal_is_told_in_words(site: Site) -> None:
    assert run(site, "refused") == [["error", 401, True], ["error", 422, True]]


def test_an_answer_that_begins_anew_ends_whole(site: Site) -> None:
    assert run(site, "restart") == {"status": "ready", "text": True, "epoch": True, "roles": PAIR}


def test_tools_of_the_client_are_part_of_one_message(site: Site) -> None:
    assert run(site, "tools") == {
        "roles": [PAIR, PAIR],
        "parts": "step-start text dynamic-tool step-start text",
        "same": [True, True, True],
        "output": {"sum": 2},
        "loaded": PAIR,
    }


def test_a_worker_killed_in_the_middle_is_not_noticed(site: Site) -> None:
    assert run(site, "killed", site.kill_worker) == {
        "status": "ready",
        "text": True,
        "epoch": True,
        "roles": PAIR,
        "told": {
            "finishes": [{"isAbort": False, "isDisconnect": False, "isError": False, "finishReason": "stop"}],
            "errors": [],
        },
    }
