"""Signed tokens of the identity provider: the signature alone, before any claim is believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from joserfc import jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jws import JWSRegistry, extract_compact

from app.domain.errors import SignInFailed
from app.openid.keys import Keys

# The library's own limit of a payload is 128,000 bytes; its limit of a header is too small for certificates.
_LONGEST_HEADER = 8192
_LONGEST = 150_000


class Signed(NamedTuple):
    """The header and the claims of a token whose signature is right."""

    header: Mapping[str, Any]
    claims: dict[str, Any]


def read(token: str, algorithms: frozenset[str], keys: Keys) -> Signed:
    """Verify the signature of a token. Raises SignInFailed, ProviderDown."""
    registry = JWSRegistry(algorithms=sorted(algorithms), strict_check_header=False)
    registry.max_header_length = _LONGEST_HEADER
    algorithm, key_id = _named(token, registry, algorithms)
    for key in keys.candidates(key_id, algorithm):
        try:
            found = jwt.decode(token, key, registry=registry)
        except BadSignatureError:
            continue
        except (JoseError, ValueError, TypeError) as error:
            raise SignInFailed(f"the token cannot be read: {type(error).__name__}") from None
        return Signed(found.header, found.claims)
    raise SignInFailed("the signature of the token is wrong")


def _named(token: str, registry: JWSRegistry, algorithms: frozenset[str]) -> tuple[str, str | None]:
    """The algorithm and the id of the key that the token names for itself."""
    if len(token) > _LONGEST or not token.isascii():
        raise SignInFailed("the token is too long, or not made of ASCII characters")
    try:
        header = extract_compact(token.encode(), registry=registry).headers()
    except (JoseError, ValueError, TypeError, AttributeError) as error:
        raise SignInFailed(f"the token cannot be read: {type(error).__name__}") from None
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise SignInFailed(f"the token is signed with {str(algorithm)[:20]!r}, which is not accepted")
    if not isinstance(key_id, str | None):
        raise SignInFailed("the token has an id of a key that is no text")
    return algorithm, key_id
