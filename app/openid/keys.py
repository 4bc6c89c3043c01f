"""The published keys of the identity provider (JWKS), and their rotation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from app.domain.errors import SignInFailed
from app.openid.cached import Cached
from app.openid.transport import Transport

FRESH_SECONDS = 300.0
MOST_KEYS = 100
# Keys that are tried for a token without the id of a key.
_MOST_TRIED = 10
_LEAST_RSA_BITS = 2048
# Members of a private key, which nobody should publish; they are not read.
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

PublicKey = RSAKey | ECKey | OKPKey
_KINDS: dict[str, type[PublicKey]] = {"RS": RSAKey, "PS": RSAKey, "ES": ECKey, "Ed": OKPKey}


class Keys:
    """The keys that may have signed a token. ``address`` gives that of the document."""

    def __init__(self, address: Callable[[], str], transport: Transport) -> None:
        self._cached = Cached(lambda: _fetch(address(), transport), FRESH_SECONDS)

    def candidates(self, key_id: str | None, algorithm: str) -> Sequence[PublicKey]:
        """The keys to try, one at least. An unknown id causes one more fetch, at most one a minute.

        Raises SignInFailed for a key that is not published, ProviderDown.
        """
        known = self._cached.get()
        found = _fitting(known, key_id, algorithm) or _fitting(self._cached.again(known), key_id, algorithm)
        if not found:
            raise SignInFailed("the token is signed with a key that the identity provider does not publish")
        return found


def _fitting(keys: Sequence[PublicKey], key_id: str | None, algorithm: str) -> list[PublicKey]:
    kind = _KINDS[algorithm[:2]]
    fitting = [key for key in keys if isinstance(key, kind) and key.get("alg", algorithm) == algorithm]
    if key_id is None:
        return fitting[:_MOST_TRIED]
    return [key for key in fitting if key.get("kid") == key_id]


def _fetch(url: str, transport: Transport) -> tuple[PublicKey, ...]:
    reply = transport.get(url)
    listed = reply.object().get("keys") if reply.status == 200 else None
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise SignInFailed(f"the keys of the identity provider cannot be read (HTTP {reply.status})")
    return tuple(key for each in listed if (key := _public(each)) is not None)


def _public(described: Any) -> PublicKey | None:
    """The key of an entry; None for one that verifies no signatures here."""
    if not isinstance(described, Mapping) or described.get("use", "sig") != "sig":
        return None
    public = {name: value for name, value in described.items() if name not in _PRIVATE}
    try:
        key = import_key(public) if public.get("kty") in ("RSA", "EC", "OKP") else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAKey) and key.raw_value.key_size < _LEAST_RSA_BITS:
        return None
    return key if isinstance(key, RSAKey | ECKey | OKPKey) else None
