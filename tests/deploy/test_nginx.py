"""The proxy's configuration, run by a real nginx in front of a small server that belongs to the tests."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.deploy.proxy import CONFIGURATION, Proxy, binary, free_port
from tests.deploy.upstream import EVENTS, Upstream

pytestmark = pytest.mark.skipif(binary() is None, reason="nginx is not installed (apt-get install nginx-light)")

STREAMS = [
    "/api/v1/generations/0199-a/stream",
    "/api/v1/generations/0199-a/stream?after=1-4",
    "/api/v1/conversations/0199-b/events?from_seq=3",
    "/api/v1/feed",
    "/v1/responses",
    "/v1/responses/resp_1?stream=true&starting_after=3",
    "/v1/chat/completions",
    "/api/chat",
    "/api/chat/some-id/stream",
]
ORDINARY = [
    "/",
    "/c/0199-b",
    "/healthz",
    "/api/v1/generations",
    "/api/v1/generations/0199-a",
    "/api/v1/generations/0199-a/cancel",
    "/api/v1/conversations/0199-b/messages",
    "/api/v1/feedback",
    "/v1/models",
    "/v1/conversations/conv_1/items",
    "/api/chat/some-id/stop",
]


@pytest.fixture(scope="module")
def groups() -> Iterator[dict[str, Upstream]]:
    groups = {"web": Upstream("web"), "streams": Upstream("streams")}
    yield groups
    for upstream in groups.values():
        upstream.stop()


@pytest.fixture(scope="module")
def proxy(groups: dict[str, Upstream]) -> Iterator[Proxy]:
    proxy = Proxy({name: [upstream.address] for name, upstream in groups.items()})
    yield proxy
    proxy.stop()


def call(
    proxy: Proxy, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> http.client.HTTPResponse:
    """The response to one request, its body unread."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    return connection.getresponse()


def described(proxy: Proxy, path: str, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(call(proxy, path, **more).read())
    return answer


def heard(response: http.client.HTTPResponse, upstream: Upstream) -> list[int]:
    """The numbers of the events. Each one received is reported to the server, which waits for that."""
    numbers = []
    buffer = b""
    while data := response.read1(65536):
        buffer += data
        *frames, buffer = buffer.split(b"\n\n")
        for frame in frames:
            line = next(line for line in frame.splitlines() if line.startswith(b"data: "))
            numbers.append(json.loads(line[6:])["number"])
            upstream.heard.release()
    return numbers


# -- streams --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/v1/generations/0199-a/stream", {}),
        ("/api/v1/generations/0199-a/stream", {"X_Without_Hint": "1"}),
        ("/v1/responses", {"X_Without_Hint": "1", "Accept_Encoding": "gzip, deflate"}),
        # Requested in the body only: through `web`, where the application's own header switches buffering off.
        ("/api/v1/generations", {"Accept": "application/json", "Accept_Encoding": "gzip, deflate"}),
    ],
)
def test_every_event_is_handed_on_at_once(
    proxy: Proxy, groups: dict[str, Upstream], path: str, headers: dict[str, str]
) -> None:
    response = call(proxy, path, X_Behave="events", **headers)

    assert response.status == 200
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["Content-Encoding"] is None
    # The server sends an event when the one before it has been received: a held-back event would be the last one.
    served = groups["web" if path.endswith("/generations") else "streams"]
    assert heard(response, served) == list(range(EVENTS))


@pytest.mark.parametrize("path", ["/api/v1/feed", "/v1/responses", "/api/v1/generations"])
def test_a_stream_that_breaks_behind_the_proxy_breaks_in_front_of_it(proxy: Proxy, path: str) -> None:
    response = call(proxy, path, X_Behave="truncate")

    with pytest.raises(http.client.IncompleteRead) as broken:
        response.read()
    assert broken.value.partial.count(b"data: ") == EVENTS


def test_headers_arrive_before_the_first_event(proxy: Proxy) -> None:
    began = time.monotonic()
    response = call(proxy, "/api/v1/feed", X_Behave="silence")

    assert response.status == 200
    # The first event would come in half a minute.
    assert time.monotonic() - began < 20


def test_what_a_stream_needs_reaches_the_application(proxy: Proxy) -> None:
    headers = described(
        proxy,
        "/api/v1/generations/0199-a/stream?ticket=abc",
        Last_Event_ID="2-17",
        Authorization="Bearer some.token.here",
        Accept="text/event-stream",
        Cookie="a=b",
    )["headers"]

    assert headers["last-event-id"] == "2-17"
    assert headers["authorization"] == "Bearer some.token.here"
    assert headers["accept"] == "text/event-stream"
    assert headers["cookie"] == "a=b"
    assert headers["host"] == f"127.0.0.1:{proxy.port}"
    assert "connection" not in headers


# -- groups ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", STREAMS)
def test_streams_go_to_their_own_group(proxy: Proxy, path: str) -> None:
    answer = described(proxy, path)

    assert (answer["group"], answer["path"]) == ("streams", path)


@pytest.mark.parametrize("path", ORDINARY)
def test_everything_else_goes_to_web(proxy: Proxy, path: str) -> None:
    answer = described(proxy, path)

    assert (answer["group"], answer["path"]) == ("web", path)


def test_a_post_that_accepts_events_goes_to_streams(proxy: Proxy) -> None:
    answer = described(proxy, "/api/v1/generations", method="POST", body=b"{}", Accept="text/event-stream")

    assert answer["group"] == "streams"


def test_an_encoded_path_arrives_as_it_was_sent(proxy: Proxy) -> None:
    path = "/v1/models/org%2Fname?include%5B%5D=a&q=%C3%A4"

    assert described(proxy, path)["path"] == path


# -- request ids and addresses --------------------------------------------------------------------------


def test_a_request_without_an_id_gets_one_and_it_is_in_the_log(proxy: Proxy) -> None:
    reference = described(proxy, "/api/v1/me")["headers"]["x-request-id"]

    assert re.fullmatch("[0-9a-f]{32}", reference)
    line = proxy.access(reference)
    # docs/operate/logs.md promises these fields of every line.
    assert (line["event"], line["level"], line["action"]) == ("request proxied", "info", "proxy")


@pytest.mark.parametrize(("given", "kept"), [("req-4711.a_b:c", True), ('x" or 1', False), ("a" * 129, False)])
def test_an_id_of_the_caller_is_kept_when_it_is_fit_for_a_log(proxy: Proxy, given: str, kept: bool) -> None:
    reference = described(proxy, "/api/v1/me", X_Request_ID=given)["headers"]["x-request-id"]

    assert (reference == given) is kept


def test_a_client_cannot_claim_another_address(proxy: Proxy) -> None:
    headers = described(
        proxy, "/api/v1/me", X_Forwarded_For="10.9.8.7", X_Forwarded_Proto="https", Forwarded="for=10.9.8.7"
    )["headers"]

    assert headers["x-forwarded-for"] == headers["x-real-ip"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert "forwarded" not in headers


# -- secrets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "ticket=SECRET",
        "after=1-3&ticket=SECRET",
        "ticket=SECRET&after=1-3",
        "ticket=a&ticket=SECRET",
        "%74icket=SECRET",
        "TICKET=SECRET",
        "after=1;ticket=SECRET",
        "q=SECRET",
        "access_token=SECRET",
        "after=%53ECRET&SECRET",
    ],
)
def test_no_secret_in_a_query_is_logged(proxy: Proxy, query: str) -> None:
    path, name = "/api/v1/generations/0199-a/stream", uuid4().hex
    headers = {"Referer": "http://here/?ticket=SECRET", "Authorization": "Bearer SECRET"}
    call(proxy, f"{path}?{query}", X_Request_ID=name, **headers).read()

    assert proxy.access(name)["uri"] == f"{path}?[redacted]"
    assert "SECRET" not in proxy.output()


@pytest.mark.parametrize("path", ["/s/SECRET", "//s//SECRET", "/s/SECRET?after=1", "/%73/SECRET", "/x/../s/SECRET"])
def test_no_address_of_a_share_is_logged(proxy: Proxy, path: str) -> None:
    name = uuid4().hex
    call(proxy, path, X_Request_ID=name).read()

    assert proxy.access(name)["uri"] == "/s/[redacted]"
    assert "SECRET" not in proxy.output()


@pytest.mark.parametrize(
    "path",
    ["/signin/once/SECRET", "/signin/once/SECRET?after=1", "/signin/%6Fnce/SECRET", "//signin//once/SECRET",
     "/x/../signin/once/SECRET"],
)  # fmt: skip
def test_no_code_of_a_link_is_logged(proxy: Proxy, path: str) -> None:
    name = uuid4().hex
    call(proxy, path, X_Request_ID=name, Referer="http://here/signin/once/SECRET").read()

    assert proxy.access(name)["uri"] == "/signin/once/[redacted]"
    assert "SECRET" not in proxy.output()


def test_harmless_parameters_are_logged(proxy: Proxy) -> None:
    path, name = "/api/v1/generations/0199-a?after=1-3&wait=20", uuid4().hex
    call(proxy, path, X_Request_ID=name).read()

    line = proxy.access(name)
    assert (line["uri"], line["status"], line["group"]) == (path, 200, "web")


def test_a_failing_stream_leaves_no_ticket_in_any_log() -> None:
    upstream = Upstream("streams")
    proxy = Proxy({"web": [upstream.address], "streams": [upstream.address]})
    path = "/api/v1/generations/0199-a/stream?ticket=SECRET"
    try:
        with pytest.raises(http.client.IncompleteRead):
            call(proxy, path, X_Behave="truncate").read()
        assert call(proxy, path, X_Behave="leave").status == 502
        upstream.stop()
        assert call(proxy, path).status == 502
        assert [line["status"] for line in proxy.accesses(3)] == [200, 502, 502]
        assert "SECRET" not in proxy.output()
    finally:
        proxy.stop()


# -- refusals -------------------------------------------------------------------------------------------


def test_a_body_above_the_limit_is_refused_with_a_problem(proxy: Proxy) -> None:
    response = call(proxy, "/api/v1/generations", "POST", b"x" * (3 << 20), X_Request_ID="mine")

    problem = json.loads(response.read())
    assert response.status == 413
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-ID"] == "mine"
    assert problem == {
        "type": "about:blank",
        "title": "Content Too Large",
        "status": 413,
        "detail": "The body of the request is too large.",
    }


def test_a_body_above_the_applications_own_limit_reaches_it(proxy: Proxy) -> None:
    response = call(proxy, "/api/v1/generations", "POST", b"x" * ((1 << 20) + 1), X_Behave="refuse")

    assert response.status == 413
    assert json.loads(response.read()) == {"title": "the application's own words"}


def test_a_conversation_that_comes_back_may_be_large(proxy: Proxy) -> None:
    response = call(proxy, "/api/v1/conversations/import", "POST", b"x" * (20 << 20), X_Behave="refuse")

    assert json.loads(response.read()) == {"title": "the application's own words"}


def test_the_compatible_surface_refuses_in_its_own_form(proxy: Proxy) -> None:
    response = call(proxy, "/v1/responses", "POST", b"x" * (24 << 20))

    assert response.status == 413
    assert response.headers["Content-Type"] == "application/json"
    assert json.loads(response.read())["error"] == {
        "message": "The body of the request is too large.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


@pytest.mark.parametrize("request_line", [b"GET /%zz HTTP/1.1", b"nonsense"])
def test_a_request_that_cannot_be_read_is_refused_with_a_problem(proxy: Proxy, request_line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), 60) as connection:
        connection.sendall(request_line + b"\r\nHost: x\r\n\r\n")
        answer = connection.makefile("rb").read()

    assert b'"status":400' in answer


def test_a_header_that_is_too_large_is_refused_with_a_problem(proxy: Proxy) -> None:
    response = call(proxy, "/api/v1/me", Authorization="Bearer " + "x" * 40_000)

    assert response.status == 431
    assert json.loads(response.read())["status"] == 431


@pytest.mark.parametrize("path", ["/ops", "/ops/", "/ops/generations/0199-a?status=error", "//ops", "/%6fps/users"])
def test_the_operators_page_is_on_the_operators_port_alone(
    proxy: Proxy, groups: dict[str, Upstream], path: str
) -> None:
    before = len(groups["web"].received)
    refused = call(proxy, path)
    assert (refused.status, refused.headers["Content-Type"]) == (404, "application/problem+json")
    assert len(groups["web"].received) == before
    connection = http.client.HTTPConnection("127.0.0.1", proxy.operators_port, timeout=60)
    connection.request("GET", path)
    assert connection.getresponse().status == 200
    assert groups["web"].received[-1].headers["x-operators-page"] == "open"


def test_a_client_cannot_open_the_link_to_the_operators_page(proxy: Proxy, groups: dict[str, Upstream]) -> None:
    assert call(proxy, "/", X_Operators_Page="open").status == 200
    assert groups["web"].received[-1].headers["x-operators-page"] == "closed"


def test_metrics_are_not_public(proxy: Proxy, groups: dict[str, Upstream]) -> None:
    response = call(proxy, "/metrics")

    assert response.status == 404
    assert json.loads(response.read())["status"] == 404
    assert not any(received.path == "/metrics" for received in groups["web"].received)


def test_the_proxy_says_that_it_lives(proxy: Proxy) -> None:
    assert call(proxy, "/-/proxy").read() == b"ok\n"


# -- an application that is down ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lonely() -> Iterator[Proxy]:
    """A proxy without any container behind it."""
    nobody = [f"127.0.0.1:{free_port()}"]
    proxy = Proxy({"web": nobody, "streams": nobody})
    yield proxy
    proxy.stop()


@pytest.mark.parametrize("path", ["/api/v1/me", "/api/v1/generations/0199-a/stream"])
def test_an_absent_application_is_a_problem_with_a_time_to_come_back(lonely: Proxy, path: str) -> None:
    response = call(lonely, path)

    assert response.status == 502
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"] == "2"
    assert json.loads(response.read())["title"] == "Bad Gateway"


def test_an_absent_application_is_an_error_of_the_compatible_surface(lonely: Proxy) -> None:
    for path in ("/v1/models", "/v1/responses/resp_1"):
        response = call(lonely, path, Accept="application/json")
        assert response.status == 502
        assert json.loads(response.read())["error"]["type"] == "server_error"


def test_an_event_source_meets_a_broken_connection_and_not_a_final_answer(lonely: Proxy) -> None:
    for path in ("/api/v1/generations/0199-a/stream", "/api/v1/feed", "/v1/responses/resp_1?stream=true"):
        with pytest.raises(http.client.RemoteDisconnected):
            call(lonely, path, Accept="text/event-stream")


def test_what_nginx_itself_refuses_is_a_problem(proxy: Proxy) -> None:
    fields = {
        "a long address": ("/" + "x" * 20_000, {}, 414),
        "a long field": ("/healthz", {"X_Long": "y" * 20_000}, 431),
    }
    for path, headers, status in fields.values():
        response = call(proxy, path, **headers)
        assert response.status == status
        assert response.headers["Content-Type"] == "application/problem+json"
        assert json.loads(response.read())["status"] == status
    assert call(proxy, "/healthz", Authorization="Bearer " + "t" * 16_384).status == 200


# -- attempts -------------------------------------------------------------------------------------------


@pytest.fixture
def several() -> Iterator[tuple[Proxy, list[Upstream]]]:
    """A proxy with two containers of `web` and one of `streams`."""
    all_of_them = [Upstream("one"), Upstream("two"), Upstream("streams")]
    one, two, streams = (upstream.address for upstream in all_of_them)
    proxy = Proxy({"web": [one, two], "streams": [streams]})
    yield proxy, all_of_them
    proxy.stop()
    for upstream in all_of_them:
        upstream.stop()


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_request_that_changes_something_is_never_sent_twice(
    several: tuple[Proxy, list[Upstream]], method: str
) -> None:
    proxy, all_of_them = several
    response = call(proxy, "/api/v1/generations", method, b"{}", X_Behave="leave")

    assert response.status == 502
    assert sum(len(upstream.received) for upstream in all_of_them) == 1


def test_a_request_that_only_reads_is_tried_elsewhere(several: tuple[Proxy, list[Upstream]]) -> None:
    proxy, all_of_them = several
    call(proxy, "/api/v1/me", X_Behave="leave")

    assert [len(upstream.received) for upstream in all_of_them] == [1, 1, 1]


@pytest.mark.parametrize(("away", "path"), [("streams", "/api/v1/feed"), ("web", "/api/v1/generations")])
def test_one_group_stands_in_for_the_other_until_it_is_back(away: str, path: str) -> None:
    port = free_port()
    there = Upstream("the other")
    groups = {"web": [there.address], "streams": [there.address], away: [f"127.0.0.1:{port}"]}
    proxy = Proxy(groups)
    try:
        assert described(proxy, path, method="POST", body=b"{}")["group"] == "the other"
        back = Upstream(away, port)
        # nginx tries it again after `fail_timeout`.
        deadline = time.monotonic() + 60
        while described(proxy, path)["group"] != away:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        back.stop()
    finally:
        proxy.stop()
        there.stop()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_process_that_is_gone_is_passed_over(method: str) -> None:
    upstream = Upstream("left")
    gone = f"127.0.0.1:{free_port()}"
    proxy = Proxy({"web": [gone, upstream.address], "streams": [gone, upstream.address]})
    try:
        for _ in range(4):
            assert described(proxy, "/api/v1/generations", method=method, body=b"{}")["group"] == "left"
            assert described(proxy, "/api/v1/feed", method=method, body=b"{}")["group"] == "left"
    finally:
        proxy.stop()
        upstream.stop()


# -- settings read from the files -----------------------------------------------------------------------


def test_events_are_never_compressed() -> None:
    types = re.search(r"gzip_types([^;]*);", (CONFIGURATION / "nginx.conf").read_text())

    assert types
    assert "text/event-stream" not in types[1].split()
