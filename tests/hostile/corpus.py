"""Hostile credentials, made with dice: tokens, keys, cookies and signatures that no service may accept."""

from __future__ import annotations

import random
import string
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from app.domain import api_key
from tests.hostile.material import KEY_ID, Material
from tests.signing import sign

ORIGIN, CHECK = "https://chat.example.com", "/api/v1/auth/check"

_VISIBLE = string.ascii_letters + string.digits + "-._~+/=,;:()\"'<>{}[]@?%&*!$^| \\"
# Beyond ASCII, as UTF-8 that is sent; and bytes that are no UTF-8.
_FOREIGN = ("\u0142\u00f3\u017a", "\u2000", "\uff42earer", "\U0001f511", "e\u0301", "\u202e")
_NUMBERS = ("0", "-1", "9" * 15, "9" * 400, "1e9", '"1"', "?1", ":AAAA:", "()")


Fields = list[tuple[str, str]]


@dataclass(frozen=True)
class Hostile:
    """One request without a good credential. ``secrets`` are parts of it that may stand in no log.

    The values of ``fields`` are text of ISO 8859-1, as the header of a request is.
    """

    kind: str
    fields: Fields
    secrets: tuple[str, ...]
    path: str = CHECK


def one(dice: random.Random, material: Material, kind: str | None = None) -> Hostile:
    """A request that has to be refused, of a kind or of any."""
    kind = kind or dice.choice(KINDS)
    if kind == "in the query":
        path = f"{CHECK}?{_query(dice, material)}"
        return Hostile(kind, [], tuple(parts(path)), path)
    fields = _MAKERS[kind](dice, material)
    return Hostile(kind, fields, tuple(part for _, value in fields for part in parts(value)))


def parts(value: str) -> list[str]:
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in value).split()
    return [word for word in words if len(word) >= 16]


def _noise(dice: random.Random, most: int = 200) -> str:
    return "".join(dice.choices(_VISIBLE, k=dice.randint(1, most))).strip() or "x"


def _hex(dice: random.Random, count: int = 32) -> str:
    return "".join(dice.choices("0123456789abcdef", k=count))


def _changed(dice: random.Random, text: str) -> str:
    """The text with another character in a place, or one more, or one for several."""
    at, cut = dice.randrange(len(text)), dice.choice([0, 1, 1, 1, 5])
    others = [character for character in _VISIBLE if character != text[at]]
    changed = text[:at] + dice.choice(others) + text[at + cut :]
    # A space at the end is no part of a field.
    return changed if changed.strip() != text else "x" + text


def _bearer(dice: random.Random, text: str) -> tuple[str, str]:
    return "Authorization", f"{dice.choice(['Bearer', 'Bearer', 'bearer', 'BEARER'])} {text}"


def _cookie_name(dice: random.Random) -> str:
    return dice.choice(["__Host-session", "session", "session"])


def _token(dice: random.Random, _: Material) -> Fields:
    now = int(time.time())
    claims: dict[str, Any] = {"sub": _hex(dice), "iat": now, "exp": now + 600, "aud": "unbroken", "iss": "unbroken"}
    for name in dice.sample(sorted(claims), dice.randint(0, 3)):
        claims[name] = dice.choice([None, "", -1, 10**400, [], {}, "\0", _noise(dice, 20)])
    header = dice.choice([{}, {"kid": "../../etc/passwd"}, {"jku": "http://127.0.0.1/"}, {"crit": ["exp"]}])
    try:
        text = jwt.encode(claims, _hex(dice, 64), dice.choice(["HS256", "HS384", "HS512"]), header)
    except (TypeError, ValueError):
        text = _noise(dice)
    if dice.random() < 0.2:
        text = urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=") + "." + text.split(".")[-2 % 2] + "."
    return [_bearer(dice, text)]


def _token_of_ours(dice: random.Random, material: Material) -> Fields:
    """A token of this deployment's own secret that is not for now or not for here, or was changed."""
    now = int(time.time())
    wrong: dict[str, Any] = dice.choice(
        [
            {"exp": now - 60},
            {"exp": 0},
            {"aud": "elsewhere"},
            {"iss": "elsewhere"},
            {"nbf": now + 600},
            {"sub": ""},
            {"sub": "x" * 256},
            {"sub": 7},
            {"type": "refresh"},
            {"exp": None},
            {"iat": None},
            {"sub": None},
        ]
    )
    if dice.random() < 0.6:
        return [_bearer(dice, material.token(**wrong))]
    return [_bearer(dice, _respelt(dice, material.token(jti=_hex(dice))))]


def _respelt(dice: random.Random, token: str) -> str:
    """A good token with a changed character, also one that only spells the same signature in another way."""
    if dice.random() < 0.7:
        return _changed(dice, token)
    digits = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    last = digits[digits.index(token[-1]) ^ dice.randint(1, 3)]
    at = dice.randint(token.rindex(".") + 1, len(token))
    return dice.choice([token[:-1] + last, token[:at] + dice.choice("!*~,") + token[at:], token + "=", token + "=="])


def _bearer_noise(dice: random.Random, _: Material) -> Fields:
    scheme = dice.choice(["Bearer", "Basic", "Digest", _noise(dice, 8)])
    return [("Authorization", f"{scheme} {_noise(dice, 2000)}")]


def _foreign(dice: random.Random, material: Material) -> Fields:
    """Text beyond ASCII around a good credential or none."""
    text = dice.choice([*_FOREIGN, "\udcff\udcfe", "\udce2\udc82"]).encode("utf-8", "surrogateescape").decode("latin-1")
    good = dice.choice([dice.choice(material.keys), material.token()])
    at = dice.randrange(len(good))
    value = good[:at] + text + good[at:]
    if dice.random() < 0.5:
        return [("Authorization", dice.choice([f"Bearer {value}", f"{text}Bearer {good}", f"Bearer{text}{good}"]))]
    session = dice.choice(material.sessions)
    name = _cookie_name(dice)
    return [("Cookie", dice.choice([f"{text}{name}={session}", f"{name}{text}={session}", f"{name}={text}{session}"]))]


def _huge(dice: random.Random, material: Material) -> Fields:
    size = dice.choice([4_000, 16_000, 16_384, 16_385, 17_000, 20_000, 70_000])
    start = dice.choice(["", dice.choice(material.keys), material.token() + "."])
    text = start + "".join(dice.choices(string.ascii_letters, k=size))
    return [
        dice.choice([("Authorization", f"Bearer {text}"), ("Cookie", f"session={text}"), ("Signature-Input", text)])
    ]


def _key(dice: random.Random, material: Material) -> Fields:
    """A key that nobody has, with a good checksum or not; its id may be known."""
    unknown = f"{_hex(dice, 8)}-{_hex(dice, 4)}-7{_hex(dice, 3)}-a{_hex(dice, 3)}-{_hex(dice, 12)}"
    text = api_key.make(dice.choice([*material.key_ids, unknown]), dice.randbytes(api_key.SECRET_BYTES)).text
    return [_bearer(dice, text if dice.random() < 0.7 else _changed(dice, text))]


def _key_of_ours(dice: random.Random, material: Material) -> Fields:
    """A key that is ended or expired, or a good one that was changed."""
    good = dice.choice(material.keys)
    mixed = good[:27] + dice.choice([key for key in material.keys if key != good])[27:]
    prefixed = dice.choice(["sk-", "unb-", "UNB_", "Unb_", "unb__", ""]) + good.removeprefix(api_key.PREFIX)
    respelt = _with_checksum(_changed(dice, good[: -api_key.CHECKSUM_CHARACTERS]))
    other = dice.choice([_changed(dice, good), mixed, prefixed, respelt, good.swapcase()])
    return [_bearer(dice, dice.choice([dice.choice(material.dead_keys), other]))]


def _with_checksum(body: str) -> str:
    return body + api_key._checksum(body)


def _cookie(dice: random.Random, material: Material) -> Fields:
    """A cookie of no session, of an ended one, or of a good one that was changed."""
    ours = dice.choice([dice.choice(material.dead_sessions), _changed_session(dice, dice.choice(material.sessions))])
    value = dice.choice([ours, ours, _hex(dice, 64), urlsafe_b64encode(dice.randbytes(32)).decode()])
    return [("Cookie", f"{_cookie_name(dice)}={value}")]


def _changed_session(dice: random.Random, text: str) -> str:
    at = dice.randrange(len(text))
    return text[:at] + dice.choice([c for c in string.ascii_letters + "-_." if c != text[at]]) + text[at + 1 :]


def _two_cookies(dice: random.Random, material: Material) -> Fields:
    """A good cookie beside another one of its name, which a page of a subdomain has planted."""
    good, other = dice.sample(material.sessions, 2)
    other = dice.choice([other, dice.choice(material.dead_sessions), "", _noise(dice, 20).replace(";", "")])
    pair = [f"session={value}" for value in dice.sample([good, other], 2)]
    return dice.choice([[("Cookie", "; ".join(pair))], [("Cookie", value) for value in pair]])


def _wrong_cookie(dice: random.Random, material: Material) -> Fields:
    """A good secret under another name."""
    name = dice.choice(["Session", "SESSION", "__Host-session", "__Secure-session", "sessions", "$session", "signin"])
    return [("Cookie", f"{name}={dice.choice(material.sessions)}")]


def _several(dice: random.Random, material: Material) -> Fields:
    """A good credential behind one that goes before it and is refused, or two good ones in one field's place."""
    cookie = ("Cookie", f"session={dice.choice(material.sessions)}")
    bad = _key(dice, material) if dice.random() < 0.5 else _token(dice, material)
    good = ("Authorization", f"Bearer {dice.choice(material.keys)}")
    signed = list(sign(dice.randbytes(32), "POST", ORIGIN + CHECK, keyid=KEY_ID).items())
    return dice.choice(
        [[*bad, cookie], [cookie, *bad], [*bad, good], [good, *bad], [good, good], [*signed, cookie], [*bad, *signed]]
    )


def _signature(dice: random.Random, material: Material) -> Fields:
    """A request that an unknown secret has signed, or the right one for another request, another time or other text."""
    now, keyid = int(time.time()), dice.choice([KEY_ID, KEY_ID, "alices", _hex(dice)])
    if dice.random() < 0.5:
        made = sign(dice.randbytes(32), "POST", ORIGIN + CHECK, keyid=keyid)
    else:
        wrong: dict[str, Any] = dice.choice(
            [
                {"created": now - 4000, "expires": now - 3000},
                {"expires": now - 1},
                {"created": now + 4000},
                {"tag": "unbroken", "alg": "hmac-sha512"},
                {"nonce": None},
                {"nonce": ""},
                {"expires": now + 10**9},
            ]
        )
        made = sign(material.signing, "POST", ORIGIN + CHECK, keyid=KEY_ID, **wrong)
    elsewhere = dice.choice(["/api/v1/me", CHECK + "?", CHECK + "/", "/"])
    if dice.random() < 0.2:
        made = sign(material.signing, "POST", ORIGIN + elsewhere, keyid=KEY_ID)
    if dice.random() < 0.2:
        made = sign(material.signing, "GET", ORIGIN + CHECK, keyid=KEY_ID)
    name = dice.choice(["signature", "signature-input"])
    if dice.random() < 0.5:
        made[name] = _changed(dice, made[name])
    if dice.random() < 0.2:
        made["signature-input"] = made["signature-input"].replace("created=", f"created={dice.choice(_NUMBERS)};x=")
    return list(made.items())


def _signature_noise(dice: random.Random, _: Material) -> Fields:
    nested = "(" * dice.randint(1, 300)
    labels = ", ".join(f"s{n}=()" for n in range(dice.randint(1, 100)))
    return [
        ("Signature-Input", f'{dice.choice([nested, labels, _noise(dice, 3000)])};tag="unbroken"'),
        ("Signature", dice.choice([_noise(dice, 500), f"sig1=:{_hex(dice, 43)}=:", labels])),
    ]


def _elsewhere(dice: random.Random, material: Material) -> Fields:
    """A good credential in a field where none is read."""
    good = dice.choice([dice.choice(material.keys), material.token(), dice.choice(material.sessions)])
    name = dice.choice(
        [
            "Proxy-Authorization",
            "X-Authorization",
            "X-Api-Key",
            "Api-Key",
            "X-Original-Authorization",
            "Cookie2",
            "X-Forwarded-Authorization",
            "Authentication",
            "X-Access-Token",
            "Set-Cookie",
            "X-Forwarded-User",
            "From",
        ]
    )
    return [(name, dice.choice([f"Bearer {good}", good, f"session={good}"]))]


def _query(dice: random.Random, material: Material) -> str:
    good = dice.choice([dice.choice(material.keys), material.token(), dice.choice(material.sessions)])
    return f"{dice.choice(['access_token', 'api_key', 'token', 'key', 'jwt', 'session', 'ticket'])}={good}"


_MAKERS: dict[str, Callable[[random.Random, Material], Fields]] = {
    "token": _token,
    "token of ours": _token_of_ours,
    "bearer": _bearer_noise,
    "beyond ASCII": _foreign,
    "huge": _huge,
    "key": _key,
    "key of ours": _key_of_ours,
    "cookie": _cookie,
    "two cookies": _two_cookies,
    "wrong cookie": _wrong_cookie,
    "several": _several,
    "signature": _signature,
    "signature noise": _signature_noise,
    "in another field": _elsewhere,
}
KINDS = (*_MAKERS, "in the query")
