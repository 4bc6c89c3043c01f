"""Signatures of requests: accepted by the profile, and refused for any change."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha512
from typing import Any

import pytest
from http_message_signatures import ContentDigest, HTTPMessageSigner, MappingKeyResolver, algorithms
from hypothesis import given
from hypothesis import strategies as st

from app.api.signatures.address import target_uri
from app.api.signatures.digest import check_digest
from app.api.signatures.profile import SignatureRefused, SignedRequest
from app.api.signatures.verifier import SignatureVerifier
from app.domain.signing_keys import SigningKey, parse_keys
from tests.signing import digest_of, sign

SECRET = b64decode("c2VydmVyLXRvLXNlcnZlci1rZXktb2YtMzItYnl0ZXM=")
NOW = 1_790_000_000
URL = "https://chat.example.com/api/v1/generations"
BODY = b'{"message":"Tell me about tides"}'
KEYS = (SigningKey("billing", SECRET), SigningKey("next", b"n" * 48, "alice"))
VERIFIER = SignatureVerifier(KEYS, 300)
USUAL: dict[str, Any] = {"created": NOW, "expires": NOW + 60, "nonce": "n-7f3a"}


def request(headers: Mapping[str, str], method: str = "POST", url: str = URL) -> SignedRequest:
    return SignedRequest(method, url, headers)


def signed(headers: Mapping[str, str] | None = None, body: bytes = BODY, **parameters: Any) -> SignedRequest:
    return request(sign(SECRET, "POST", URL, headers, body, **{**USUAL, **parameters}))


def reason(request: SignedRequest, now: float = NOW) -> str:
    with pytest.raises(SignatureRefused) as caught:
        VERIFIER.verify(request, now)
    return caught.value.reason


def test_the_computed_example_of_the_profile_is_accepted() -> None:
    headers = {
        "content-digest": "sha-256=:qHuoRJyHZUus9wuQWBkWAWeX0wqiu2aSxsvpH3bmBqE=:",
        "idempotency-key": "order-17",
        "signature-input": 'sig1=("@method" "@target-uri" "content-digest" "idempotency-key");created=1790000000'
        ';expires=1790000060;nonce="n-7f3a";keyid="billing";alg="hmac-sha256";tag="unbroken"',
        "signature": "sig1=:uuDKy/hKTpOLqZoT4aEvq6eXd252fp+khmddKkLeH4w=:",
    }
    found = VERIFIER.verify(request(headers), NOW)
    assert (found.key, found.nonce) == (KEYS[0], "n-7f3a")
    check_digest(headers["content-digest"], BODY)
    assert sign(SECRET, "POST", URL, {"Idempotency-Key": "order-17"}, BODY, **USUAL) == headers


@dataclass
class Outgoing:
    """A request in the form that the library signs."""

    method: str = "POST"
    url: str = URL
    headers: dict[str, str] = field(default_factory=dict)


def test_a_request_that_the_library_signed_is_accepted() -> None:
    message = Outgoing(headers={"Content-Digest": ContentDigest.create(BODY), "Content-Type": "application/json"})
    keys = MappingKeyResolver(public_keys={}, private_keys={"next": b"n" * 48})
    HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=keys).sign(
        message,
        key_id="next",
        created=datetime.fromtimestamp(NOW, UTC),
        expires=datetime.fromtimestamp(NOW + 300, UTC),
        nonce="one",
        tag="unbroken",
        use_existing_digest=True,
        covered_component_ids=("@method", "@target-uri", "content-digest", "content-type"),
    )
    sent = request({name.lower(): value for name, value in message.headers.items()})
    assert VERIFIER.verify(sent, NOW + 299).key.user == "alice"


def test_a_request_without_a_body_needs_no_digest() -> None:
    VERIFIER.verify(request(sign(SECRET, "GET", URL, **USUAL), "GET"), NOW)
    check_digest(None, b"")


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "an unknown key": ("signature", {"keyid": "another"}),
    "another algorithm": ("signature", {"alg": "ed25519"}),
    "another tag": ("signature", {"tag": "other"}),
    "no tag": ("signature", {"tag": None}),
    "no key": ("signature", {"keyid": None}),
    "no algorithm": ("parameters", {"alg": None}),
    "no nonce": ("parameters", {"nonce": None}),
    "no creation": ("parameters", {"created": None}),
    "no end": ("parameters", {"expires": None}),
    "an unknown parameter": ("signature", {"extra": "x"}),
    "too old": ("created", {"created": NOW - 301, "expires": NOW + 1}),
    "from the future": ("created", {"created": NOW + 301, "expires": NOW + 302}),
    "expired": ("expires", {"expires": NOW}),
    "too long": ("expires", {"expires": NOW + 301}),
    "an end before the creation": ("expires", {"created": NOW + 100, "expires": NOW + 50}),
    "an empty nonce": ("nonce", {"nonce": ""}),
    "a long nonce": ("nonce", {"nonce": "n" * 129}),
    "a time as text": ("signature", {"created": str(NOW)}),
    "no body in the components": ("components", {"covered": ("@method", "@target-uri")}),
    "another order": ("components", {"covered": ("@target-uri", "@method", "content-digest")}),
    "a component more": ("components", {"covered": ("@method", "@target-uri", "content-digest", "accept")}),
    "a component twice": ("components", {"covered": ("@method", "@method", "@target-uri", "content-digest")}),
    "a long input": ("size", {"nonce": "n" * 2048}),
}


@pytest.mark.parametrize(("expected", "changes"), REFUSED.values(), ids=REFUSED.keys())
def test_a_signature_outside_of_the_profile_is_refused(expected: str, changes: dict[str, Any]) -> None:
    assert reason(signed({"Accept": "*/*"}, **changes)) == expected


@pytest.mark.parametrize("header", ["idempotency-key", "content-type", "x-on-behalf-of", "content-digest"])
def test_a_header_that_is_sent_has_to_be_covered(header: str) -> None:
    sent = signed({header: "value"} if header != "content-digest" else {}, covered=("@method", "@target-uri"))
    assert reason(sent) == "components"
    added = signed(body=b"")
    assert reason(replace(added, headers={**added.headers, header: "value"})) == "components"


@pytest.mark.parametrize(
    "change",
    [
        lambda given: f"{given}, {given.replace('sig1', 'sig2')}",
        lambda given: given.replace("sig1", "SIG1"),
        lambda given: given.replace("sig1", "sig2"),
        lambda given: f" {given}",
        lambda given: "",
        lambda given: "sig1",
    ],
)
@pytest.mark.parametrize("header", ["signature", "signature-input"])
def test_only_one_signature_in_one_spelling_is_read(header: str, change: Callable[[str], str]) -> None:
    sent = signed()
    changed = replace(sent, headers={**sent.headers, header: change(sent.headers[header])})
    assert reason(changed) in ("form", "signature")


def test_other_spellings_of_the_parameters_are_refused() -> None:
    sent = signed()
    given = sent.headers["signature-input"]
    for other in (given.replace(";created", "; created"), given.replace(";expires", ";expires=1;expires"), f"{given} "):
        assert reason(replace(sent, headers={**sent.headers, "signature-input": other})) == "form"


def test_several_labels_and_no_labels_are_refused() -> None:
    assert reason(request({})) == "form"
    one, other = signed(), signed(label="sig2")
    both = {name: f"{one.headers[name]}, {other.headers[name]}" for name in ("signature", "signature-input")}
    assert reason(replace(one, headers={**one.headers, **both})) == "form"


@given(st.data())
def test_any_change_of_one_character_is_refused(data: st.DataObject) -> None:
    headers = {"Idempotency-Key": "order-17", "Content-Type": "application/json", "X-On-Behalf-Of": "alice"}
    sent = signed(headers)
    parts = {"@method": sent.method, "@target-uri": sent.target_uri, **sent.headers}
    name = data.draw(st.sampled_from(sorted(parts)), "part")
    at = data.draw(st.integers(0, len(parts[name]) - 1), "place")
    character = data.draw(st.characters(min_codepoint=0, max_codepoint=255), "character")
    changed = parts[name][:at] + character + parts[name][at + 1 :]
    if changed == parts[name] or (at in (0, len(parts[name]) - 1) and name not in ("signature", "signature-input")):
        # Space around a value is no part of it, and a label is not signed.
        return
    parts[name] = changed
    method, url = parts.pop("@method"), parts.pop("@target-uri")
    reason(SignedRequest(method, url, parts))


@given(st.binary(max_size=200), st.integers(0, 199), st.integers(1, 255))
def test_a_digest_fits_its_body_only(body: bytes, at: int, flip: int) -> None:
    given = digest_of(body)
    check_digest(given, body)
    long = f"sha-512=:{b64encode(sha512(body).digest()).decode()}:"
    check_digest(long, body)
    check_digest(f"{given}, {long}", body)
    changed = bytes([*body[:at], body[at] ^ flip, *body[at + 1 :]]) if at < len(body) else body + b"\0"
    for each in (given, long, f"{given}, {long}", None):
        if changed or each:
            with pytest.raises(SignatureRefused):
                check_digest(each, changed)


@pytest.mark.parametrize(
    "given",
    ["", "sha-256", "sha-256=x", "md5=:AAAA:", "sha-256=:AAAA:", f"{digest_of(BODY)}, md5=:AAAA:", "é", "x" * 300],
)
def test_an_unreadable_digest_is_refused(given: str) -> None:
    with pytest.raises(SignatureRefused):
        check_digest(given, BODY)


@pytest.mark.parametrize(
    ("public_url", "scheme", "host", "raw", "expected"),
    [
        ("https://chat.example.com", "http", "10.0.0.7:8000", "/a?b=%20c", "https://chat.example.com/a?b=%20c"),
        ("https://Chat.Example.com:443", "http", "x", "/", "https://chat.example.com/"),
        ("https://chat.example.com:8443", "http", "x", "/a", "https://chat.example.com:8443/a"),
        (None, "http", "LocalHost:8000", "/a?b&c", "http://localhost:8000/a?b&c"),
        (None, "http", "[::1]:80", "/a", "http://[::1]/a"),
        (None, "http", "a.example", "http://a.example/b?c", "http://a.example/b?c"),
        (None, "http", "a.example", "http://a.example", "http://a.example/"),
        (None, "http", "a.example", "//evil.example/b", "http://a.example//evil.example/b"),
    ],
)
def test_an_address_is_the_one_that_the_client_wrote(
    public_url: str | None, scheme: str, host: str, raw: str, expected: str
) -> None:
    assert target_uri({"wsgi.url_scheme": scheme, "RAW_URI": raw}, host, public_url) == expected


@pytest.mark.parametrize(("host", "raw"), [("a@b", "/"), ("a/b", "/"), ("", "/"), ("a", "/#b"), ("a b", "/")])
def test_an_address_that_two_readers_may_read_differently_is_refused(host: str, raw: str) -> None:
    with pytest.raises(SignatureRefused):
        target_uri({"wsgi.url_scheme": "http", "RAW_URI": raw}, host, None)


def encoded(length: int = 32) -> str:
    return b64encode(b"\xfb" * length).decode()


def test_keys_have_an_id_a_secret_and_perhaps_a_user() -> None:
    keys = parse_keys(f"a:{encoded()}, b-2:{encoded(40)}@alice@example.com,")
    assert [(key.id, len(key.secret), key.user) for key in keys] == [("a", 32, None), ("b-2", 40, "alice@example.com")]
    assert "\xfb" not in repr(keys)
    assert "\\xfb" not in repr(keys)


BAD_KEYS = {
    "no secret": "a",
    "a short secret": f"a:{encoded(31)}",
    "a long secret": f"a:{encoded(1025)}",
    "no base64": f"a:{'?' * 44}",
    "base64 cut off": f"a:{encoded()[:-1]}",
    "an empty id": f":{encoded()}",
    "an id with a space": f"a b:{encoded()}",
    "an id of 65 characters": f"{'i' * 65}:{encoded()}",
    "one id twice": f"a:{encoded()},a:{encoded(33)}",
    "an empty user": f"a:{encoded()}@",
    "a long user": f"a:{encoded()}@{'u' * 256}",
    "NUL in a user": f"a:{encoded()}@u\0",
}


@pytest.mark.parametrize("text", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_keys_that_cannot_be_used_are_refused_without_their_text(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_keys(text)
    assert encoded()[:8] not in str(caught.value)
    assert "?" not in str(caught.value)
