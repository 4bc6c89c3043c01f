"""Requests whose framing is wrong, or whose good credential stands where it is none: raw bytes."""

from __future__ import annotations

from random import Random

from tests.hostile.corpus import CHECK
from tests.hostile.material import Material


def one(dice: Random, material: Material, host: str) -> bytes:
    """The bytes of a connection. No response to them may be a success."""
    good = dice.choice([f"Bearer {dice.choice(material.keys)}", f"Bearer {material.token()}"])
    cookie = f"session={dice.choice(material.sessions)}"
    return dice.choice([_field, _folded, _body, _trailer, _line, _lengths])(dice, host, good, cookie).encode("latin-1")


def _field(dice: Random, host: str, good: str, cookie: str) -> str:
    """A field whose name or value is not one."""
    return _request(
        host,
        dice.choice(
            [
                f"Authorization : {good}",
                f"Authorization\t: {good}",
                f" Authorization: {good}",
                f"Author\x00ization: {good}",
                f"Authorization_: {good}",
                f"HTTP_AUTHORIZATION: {good}",
                f"Authorization\xa0: {good}",
                f": {good}",
                f"X: y\nAuthorization: {good}\x00",
                f"X: y\rAuthorization: {good}",
                f"Authorization: {good}\x01",
                f"Authorization:\x00{good}",
                f"Cookie : {cookie}",
                f"Coo_kie: {cookie}",
                f"Cookie\x0b: {cookie}",
                f"Authorization {good}",
                "Authorization: Bearer\x00",
                f"Cookie: {cookie}\x00",
                f"Cookie: \x00{cookie}",
            ]
        ),
    )


def _folded(dice: Random, host: str, good: str, cookie: str) -> str:
    """A field on two lines."""
    scheme, _, text = good.partition(" ")
    return _request(
        host,
        dice.choice(
            [
                f"X: y\r\n Authorization: {good}",
                f"Authorization: {scheme}\r\n {text}",
                f"Authorization:\r\n\t{good}",
                f"Cookie:\r\n {cookie}",
                f"X: y\r\n\tCookie: {cookie}",
            ]
        ),
    )


def _body(dice: Random, host: str, good: str, cookie: str) -> str:
    """A whole request with a good credential, as the body of one without."""
    inner = f"POST {CHECK} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {good}\r\nContent-Length: 0\r\n\r\n"
    chunked = f"{len(inner):x}\r\n{inner}\r\n0\r\n\r\n"
    return dice.choice(
        [
            f"POST {CHECK} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(inner)}\r\n\r\n{inner}",
            f"POST {CHECK} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}",
            f"GET {CHECK} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(inner)}\r\nConnection: close\r\n\r\n{inner}",
        ]
    )


def _trailer(dice: Random, host: str, good: str, cookie: str) -> str:
    """A credential behind a body."""
    field = dice.choice([f"Authorization: {good}", f"Cookie: {cookie}"])
    head = f"POST {CHECK} HTTP/1.1\r\nHost: {host}\r\nTrailer: Authorization, Cookie\r\nTransfer-Encoding: chunked\r\n"
    return f"{head}Connection: close\r\n\r\n2\r\n{{}}\r\n0\r\n{field}\r\n\r\n"


def _line(dice: Random, host: str, good: str, cookie: str) -> str:
    """A credential in the first line, or a first line that is not one."""
    first = dice.choice(
        [
            f"POST {CHECK}\tHTTP/1.1",
            f"POST  {CHECK} HTTP/1.1",
            f"post {CHECK} HTTP/1.1",
            f"POST {CHECK} HTTP/9.9",
            f"POST {CHECK} HTTP/1.1 ",
            f"POST {CHECK} HTTP/1.10",
            f"POST {CHECK}",
        ]
    )
    if dice.random() < 0.3:
        secret = good.partition(" ")[2]
        first = f"POST http://{secret}:{secret}@{host}{CHECK} HTTP/1.1"
        return f"{first}\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    # Whatever the line is, the field below it is none of a request without a good first line.
    return f"{first}\r\nHost: {host}\r\nAuthorization : {good}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def _lengths(dice: Random, host: str, good: str, cookie: str) -> str:
    """Two lengths of one body, and a request in what the one hides."""
    inner = f"POST {CHECK} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {good}\r\nContent-Length: 0\r\n\r\n"
    size = len(inner)
    framing = dice.choice(
        [
            f"Content-Length: {size + 5}\r\nTransfer-Encoding: chunked",
            f"Content-Length: 5\r\nContent-Length: {size + 5}",
            f"Content-Length: +{size + 5}",
            f"Content-Length: {size + 5}, {size + 5}",
            "Content-Length: -1",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding:\x0bchunked",
            "Transfer-Encoding: chunked, identity",
            f"Transfer-Encoding : chunked\r\nContent-Length: {size + 5}",
            "Content-Length: 0x10",
            "Content-Length: 5_0",
        ]
    )
    return f"POST {CHECK} HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n\r\n0\r\n\r\n{inner}"


def _request(host: str, lines: str) -> str:
    return f"POST {CHECK} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
