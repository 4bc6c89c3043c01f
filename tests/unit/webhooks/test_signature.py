"""Signatures of webhooks, verified by the libraries that receivers use."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import InvalidWebhookSignatureError, OpenAI
from standardwebhooks import Webhook, WebhookVerificationError

from app.domain.webhook_signature import headers, hint, key_of, new_secret, signature

BODY = (
    b'{"id":"evt_1","object":"event","type":"response.completed","created_at":1790000000,'
    b'"timestamp":"2026-09-21T00:00:00Z","data":{"id":"resp_1"}}'
)


def test_the_computed_example_of_the_specification() -> None:
    made = signature(
        "whsec_dGlkZXMtYXJlLWNhdXNlZC1ieS10aGUtbW9vbi0yMDI2",
        "msg_0198f3c2",
        1790000000,
        b'{"type":"response.completed","data":{"id":"resp_1"}}',
    )
    assert made == "v1,ImbDWZphQVStdVORsc+DfwaWCCmpdcy3eLWC//e8WKk="


def test_the_sdk_of_openai_reads_a_webhook() -> None:
    secret = new_secret()
    client = OpenAI(api_key="unused", webhook_secret=secret)
    event = client.webhooks.unwrap(BODY, headers([secret], "evt_1", int(time.time()), BODY))
    assert event.type == "response.completed"
    assert event.data.id == "resp_1"


def test_the_sdk_of_openai_refuses_another_body() -> None:
    secret = new_secret()
    client = OpenAI(api_key="unused", webhook_secret=secret)
    with pytest.raises(InvalidWebhookSignatureError):
        client.webhooks.unwrap(BODY + b" ", headers([secret], "evt_1", int(time.time()), BODY))


@given(st.binary(max_size=300), st.integers(1, 3))
def test_the_reference_library_accepts_each_of_the_secrets(body: bytes, count: int) -> None:
    secrets = [new_secret() for _ in range(count)]
    sent = headers(secrets, "evt_1", int(time.time()), b'{"a":"' + body.hex().encode() + b'"}')
    for secret in secrets:
        Webhook(secret).verify(b'{"a":"' + body.hex().encode() + b'"}', sent)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(b'{"a":"' + body.hex().encode() + b'"}', sent)


def test_an_old_attempt_is_refused_by_the_receiver() -> None:
    secret = new_secret()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, headers([secret], "evt_1", int(time.time()) - 400, BODY))


def test_an_id_with_a_dot_is_not_signed() -> None:
    with pytest.raises(ValueError, match="dot"):
        signature(new_secret(), "evt.1", 1, b"")


def test_nothing_is_sent_unsigned() -> None:
    with pytest.raises(ValueError, match="at least one secret"):
        headers([], "evt_1", 1, b"")


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!", "c2VjcmV0LW9mLXR3ZW50eS1mb3VyLWJ5dGVz"])
def test_a_secret_that_is_none_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="a webhook secret is whsec_") as refusal:
        key_of(text)
    assert not text or text == "whsec_" or text not in str(refusal.value)


def test_secrets_differ_and_the_hint_shows_four_characters() -> None:
    secret = new_secret()
    assert secret != new_secret()
    assert len(key_of(secret)) == 32
    assert hint(secret) == f"whsec_…{secret[-4:]}"
