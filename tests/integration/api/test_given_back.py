"""A place and a presence are released when the request for a stream fails at any point after they were taken."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from app.api import streams
from app.api.web_process import EXTENSION
from tests.stack import until

from .conftest import Person
from .test_feeds import events_of


def no_descriptor(*_: Any, **__: Any) -> Any:
    raise OSError(errno.EMFILE, "Too many open files")


def no_socket(patched: pytest.MonkeyPatch, app: Any) -> None:
    patched.setattr(socket, "socketpair", no_descriptor)


def no_stream(patched: pytest.MonkeyPatch, app: Any) -> None:
    patched.setattr(streams, "EventStream", no_descriptor)


def no_presence(patched: pytest.MonkeyPatch, app: Any) -> None:
    patched.setattr(type(app.extensions[EXTENSION].live.presence), "join", no_descriptor)


Failure = Callable[[pytest.MonkeyPatch, Any], None]


@pytest.mark.parametrize("failure", [no_socket, no_stream, no_presence])
def test_a_feed_that_fails_leaves_no_place_and_no_presence(
    make_app: Any, monkeypatch: pytest.MonkeyPatch, failure: Failure
) -> None:
    app = make_app(max_streams_per_user=1)
    alice = Person(app.test_client(), f"alice-{failure.__name__}")
    path = events_of(alice.start()["conversation"]["id"])
    with monkeypatch.context() as patched:
        failure(patched, app)
        fail(alice, "GET", path)
    assert has_room(alice, path)
    presence = app.extensions[EXTENSION].live.presence
    until(lambda: not presence._here, what="an end of all presence")


@pytest.mark.parametrize("failure", [no_socket, no_stream])
@pytest.mark.parametrize("way", ["start", "follow", "everything"])
def test_a_stream_that_fails_leaves_no_place(
    make_app: Any, monkeypatch: pytest.MonkeyPatch, failure: Failure, way: str
) -> None:
    app = make_app(max_streams_per_user=1)
    alice = Person(app.test_client(), f"alice-{failure.__name__}-{way}")
    generation_id = alice.start()["generation"]["id"]
    path = "/api/v1/feed" if way == "everything" else f"/api/v1/generations/{generation_id}/stream"
    with monkeypatch.context() as patched:
        failure(patched, app)
        if way == "start":
            fail(alice, "POST", "/api/v1/generations", json={"message": "hi", "stream": True})
        else:
            fail(alice, "GET", path)
    assert has_room(alice, path)


def fail(person: Person, method: str, path: str, **options: Any) -> None:
    """Send a request whose stream cannot begin: 500, or a body that breaks at once."""
    with suppress(OSError), person._ask(method, path, options) as answer:
        assert answer.status_code == 500


def has_room(person: Person, path: str) -> bool:
    """True as soon as a stream opens. The place of a failed request is released in Redis a moment after it."""

    def opens() -> bool:
        with person.get(path) as answer:
            return answer.status_code == 200

    return until(opens)
