"""Verifies signatures of AWS, version 4, in the Authorization header of a request to S3.

It is written from AWS's pages alone ("Authenticating Requests: Using the Authorization Header") and imports no code of
the service or of its client.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote

SKEW_SECONDS = 900.0
_HEADER = re.compile(r"AWS4-HMAC-SHA256 Credential=([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]{64})")
_TIME = "%Y%m%dT%H%M%SZ"


class Refused(Exception):
    """S3 refuses a request: status, code and message of its error."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code, message)
        self.status, self.code, self.message = status, code, message or code


@dataclass(frozen=True, slots=True)
class Key:
    """The one access key, and the region for which it signs."""

    id: str
    secret: str
    region: str


@dataclass(frozen=True, slots=True)
class Signed:
    """A request as it was sent. ``headers`` have names in lower case, ``target`` is the path with its query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def verify(request: Signed, key: Key) -> None:
    """Raise Refused, unless the request was signed with the key for this time, and its body is what was signed."""
    found = _HEADER.fullmatch(request.headers.get("authorization", ""))
    if found is None:
        raise Refused(403, "AccessDenied")
    credential, names, signature = found.group(1), found.group(2).split(";"), found.group(3)
    scope = _checked_scope(credential, request.headers.get("x-amz-date", ""), key)
    _check_names(request.headers, names)
    _check_body(request)
    digest = hashlib.sha256(_canonical(request, names).encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", request.headers["x-amz-date"], "/".join(scope), digest))
    if not hmac.compare_digest(hmac.new(_signing_key(key, scope), text.encode(), "sha256").hexdigest(), signature):
        raise Refused(403, "SignatureDoesNotMatch")


def _checked_scope(credential: str, time: str, key: Key) -> list[str]:
    key_id, *scope = credential.split("/")
    if key_id != key.id:
        raise Refused(403, "InvalidAccessKeyId")
    if scope != [time[:8], key.region, "s3", "aws4_request"]:
        raise Refused(400, "AuthorizationHeaderMalformed", f"expecting {key.region!r}")
    at = datetime.strptime(time, _TIME).replace(tzinfo=UTC)
    if abs((datetime.now(UTC) - at).total_seconds()) > SKEW_SECONDS:
        raise Refused(403, "RequestTimeTooSkewed")
    return scope


def _check_names(headers: Mapping[str, str], names: list[str]) -> None:
    needed = {"host"} | {name for name in headers if name.startswith("x-amz-") or name == "content-md5"}
    if names != sorted(names) or not needed <= set(names) <= set(headers):
        raise Refused(403, "AccessDenied", "There were headers present in the request which were not signed")


def _check_body(request: Signed) -> None:
    if request.headers.get("x-amz-content-sha256") != hashlib.sha256(request.body).hexdigest():
        raise Refused(400, "XAmzContentSHA256Mismatch")


def _canonical(request: Signed, names: list[str]) -> str:
    path, _, query = request.target.partition("?")
    pairs = sorted((_encoded(name), _encoded(value)) for name, value in parse_qsl(query, keep_blank_values=True))
    return "\n".join(
        (
            request.method,
            quote(unquote(path), safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{' '.join(request.headers[name].split())}" for name in names),
            "",
            ";".join(names),
            request.headers["x-amz-content-sha256"],
        )
    )


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")


def _signing_key(key: Key, scope: list[str]) -> bytes:
    made = f"AWS4{key.secret}".encode()
    for part in scope:
        made = hmac.new(made, part.encode(), "sha256").digest()
    return made
