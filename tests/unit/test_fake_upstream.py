"""The upstream of the tests behaves as its description promises."""

from __future__ import annotations

import json
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from tests.fakes.upstream import ENOUGH, TOKEN, FakeUpstream


def ask(upstream: FakeUpstream, path: str, body: object, method: str = "POST") -> urllib.request.Request:
    address = upstream.base_url.removesuffix("/v1") + path
    return urllib.request.Request(
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method
    )


QUESTION = {"model": "fake", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}


def test_what_is_said_comes_to_its_end_in_order_when_it_is_enough() -> None:
    with FakeUpstream({"tokens": 100_000, "rate": 50}) as upstream:
        with urllib.request.urlopen(ask(upstream, "/v1/chat/completions", QUESTION), timeout=30) as answer:
            while b"k0.3 " not in answer.readline():
                pass
            urllib.request.urlopen(ask(upstream, "/fake/enough", {}, "PUT"), timeout=30).close()
            rest = answer.read()
        assert b'"finish_reason":"stop"' in rest
        assert rest.endswith(b"data: [DONE]\n\n")
        upstream.wait_until(lambda: upstream.calls[0].end == "finished")
        with urllib.request.urlopen(ask(upstream, "/v1/chat/completions", QUESTION), timeout=30) as answer:
            assert len(TOKEN.findall(answer.read().decode())) == ENOUGH, "who asks now is answered shortly"


def test_a_held_call_goes_on_when_the_defaults_change() -> None:
    def answer() -> str:
        with urllib.request.urlopen(ask(upstream, "/v1/chat/completions", QUESTION), timeout=60) as said:
            return str(said.read().decode())

    with FakeUpstream({"tokens": 3, "rate": 0, "held": True}) as upstream, ThreadPoolExecutor(1) as pool:
        said = pool.submit(answer)
        upstream.wait_until(lambda: upstream.calls)
        released = time.time()
        urllib.request.urlopen(ask(upstream, "/fake/defaults", {}, "PUT"), timeout=30).close()
        assert len(TOKEN.findall(said.result(60))) == 3
        assert (upstream.calls[0].first_token_at or 0) >= released


def test_a_stalled_call_goes_on_when_it_is_told_to() -> None:
    question = ("/v1/chat/completions", QUESTION)
    with (
        FakeUpstream({"tokens": 5, "rate": 0, "stall_after": 2}) as upstream,
        urllib.request.urlopen(ask(upstream, *question), timeout=60) as answer,
    ):
        while b"k0.1 " not in answer.readline():
            pass
        assert upstream.calls[0].end is None
        urllib.request.urlopen(ask(upstream, "/fake/go_on", {}, "PUT"), timeout=30).close()
        assert TOKEN.findall(answer.read().decode()) == [("0", "2"), ("0", "3"), ("0", "4")]
