"""The errors and retries that an upstream's refusals become."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.providers.reading.upstream_errors import MAX_MESSAGE_CHARS, from_event, from_response, retry_after, tidy


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (302, "upstream_rejected", False),
        (400, "upstream_rejected", False),
        (401, "upstream_unauthorized", False),
        (403, "upstream_unauthorized", False),
        (404, "upstream_rejected", False),
        (408, "upstream_timeout", True),
        (409, "upstream_rejected", True),
        (413, "upstream_rejected", False),
        (429, "upstream_rate_limited", True),
        (500, "upstream_unavailable", True),
        (503, "upstream_unavailable", True),
        (504, "upstream_timeout", True),
        (529, "upstream_unavailable", True),
    ],
)
def test_a_status_says_whether_a_retry_makes_sense(status: int, code: str, retryable: bool) -> None:
    error = from_response(status, {}, b"")
    assert (error.code, error.retryable, error.upstream_status) == (code, retryable, status)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no such model"}},
        {"error": "no such model"},
        [{"error": {"message": "no such model"}}],
        {"detail": "no such model"},
        {"message": "no such model"},
        "no such model",
    ],
)
def test_the_upstreams_own_words_are_passed_on(body: Any) -> None:
    assert from_response(404, {}, orjson.dumps(body)).message == "The upstream answered 404 Not Found: no such model"


def test_a_web_page_is_not_quoted() -> None:
    error = from_response(502, {}, b"<html><h1>Bad gateway</h1>", content_type="text/html")
    assert error.message == "The upstream answered 502 Bad Gateway."


def test_a_context_that_is_too_long_is_named() -> None:
    body = b'{"error":{"message":"too long","code":"context_length_exceeded","type":"invalid_request_error"}}'
    assert from_response(400, {}, body).code == "context_length"


def test_an_empty_account_is_not_worth_a_retry() -> None:
    error = from_response(429, {}, b'{"error":{"message":"pay first","code":"insufficient_quota"}}')
    assert (error.code, error.retryable) == ("upstream_quota", False)


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
@pytest.mark.parametrize("key", ["sk-proj-verysecret42", "verysecret and of no known shape"])
def test_no_message_contains_the_key(status: int, key: str) -> None:
    body = orjson.dumps({"error": {"message": f"Incorrect API key provided: {key}. Header: Bearer {key}"}})
    message = from_response(status, {}, body, secrets=[key]).message
    assert "verysecret" not in message
    assert "verysecret" not in from_event({"message": f"key {key}"}, secrets=[key]).message


def test_what_looks_like_a_key_is_hidden_even_when_it_is_not_ours() -> None:
    assert tidy("got sk-abc***wxyz and Bearer eyJhbGci.x") == "got *** and ***"


@given(st.text(), st.text(min_size=1))
def test_a_message_is_one_short_line(text: str, secret: str) -> None:
    line = tidy(text + secret + text, [secret])
    assert len(line) <= MAX_MESSAGE_CHARS
    assert line.isprintable()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 20 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Fri, 99 Nov 2026 99:00:30 GMT"}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, datetime(2026, 11, 20, 12, 0, tzinfo=UTC)) == seconds


@pytest.mark.parametrize("body", [b"%b", b'{"error":%b}', b'{"error":{"message":%b}}', b'{"error":{"type":%b}}'])
@pytest.mark.parametrize("deep", [300, 1000])
def test_a_refusal_that_cannot_be_written_down_is_a_refusal(body: bytes, deep: int) -> None:
    assert from_response(500, {}, body % (b"[" * deep + b"]" * deep)).code == "upstream_unavailable"


@pytest.mark.parametrize(
    ("key", "said", "shown"),
    [
        ("none", "none of the models exists", "none of the models exists"),
        ("x", "max_tokens must exceed x", "max_tokens must exceed x"),
        ("ollama", "ollama has no model llama", "ollama has no model llama"),
        ("EMPTY", "The prompt is EMPTY", "The prompt is EMPTY"),
        ("not-needed", "Tools are not-needed here", "Tools are not-needed here"),
        ("none", "Incorrect API key provided: none.", "Incorrect API key provided: ***."),
        ("x", 'wrong key "x", see docs', 'wrong key "***", see docs'),
        ("hunter", "password hunter is wrong", "password *** is wrong"),
        ("gpt4turbo1", "gpt4turbo1 was sent, gpt4turbo12 is a model", "*** was sent, gpt4turbo12 is a model"),
        ("a-long-key-without-digits", "(a-long-key-without-digitsX)", "(***X)"),
        ("", "the key_value pair of key-123abc", "the key_value pair of ***"),
        ("k3y.with*signs?", "it was k3y.with*signs? indeed", "it was *** indeed"),
    ],
)
def test_only_a_secret_is_masked_and_no_ordinary_word(key: str, said: str, shown: str) -> None:
    assert tidy(said, [key]) == shown


@pytest.mark.parametrize("key", ["sk-proj-verysecret42", "verysecret and of no known shape", "v3rysecret"])
@given(before=st.integers(9_900, 10_050))
def test_a_secret_that_is_cut_in_the_middle_is_not_shown_in_part(key: str, before: int) -> None:
    said = " " * before + f"{key} " + "x" * 100
    assert "rysecret" not in tidy(said, [key])
    assert tidy("word" + said, [key]).startswith("word")


def test_an_error_of_any_length_is_tidied_in_a_moment() -> None:
    began = time.thread_time()
    for _ in range(20):
        from_event({"message": "a b " * 500_000}, secrets=["none", "verysecret and of no known shape"])
    assert time.thread_time() - began < 1.0
