"""The text of a body in UTF-8, whatever its charset. Pure.

The bytes decide before the label: many servers name an old charset and send UTF-8.
"""

from __future__ import annotations

import codecs

_UTF_8 = frozenset({"utf-8", "ascii", "utf-8-sig"})
# Encodings of Python that are no charset of a body.
_OTHERS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"})
_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
# The longer mark begins with the shorter one.
_WIDE_MARKS = (
    (b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be"), *_MARKS.items(),
)  # fmt: skip
# The places of the zeros in the first bytes of a body that begins with ASCII.
_WIDE_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
}
_FIRST_BYTES = 4
# Below it, a valid sequence of UTF-8 may be two signs of an East Asian charset by chance.
_CERTAIN = "\u0800"


def charset_of(content_type: str) -> str:
    """The charset of a Content-Type header; empty for UTF-8, for none, and for one that Python does not know."""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            try:
                info = codecs.lookup(value.strip().strip("\"'"))
            except (LookupError, ValueError):
                return ""
            is_other = info.name in _UTF_8 or info.name.replace("_", "-") in _OTHERS
            return "" if is_other or not info._is_text_encoding else info.name
    return ""


class Recoder:
    """Turns one body into UTF-8, line by line. ``most`` is the number of bytes of a line that is kept back."""

    def __init__(self, charset: str, most: int) -> None:
        self._charset = charset
        self._most = most
        self._held = bytearray()
        self._is_utf_8: bool | None = None  # None while every byte was ASCII
        self._is_wide = charset.startswith(("utf-16", "utf-32"))
        self._wide: codecs.IncrementalDecoder | None = None

    def feed(self, data: bytes) -> bytes:
        """The lines that are complete now."""
        if self._is_wide:
            if self._wide is not None:
                return self._wide.decode(data).encode("utf-8", "replace")
            data = self._begin_wide(data)
            if self._is_wide:
                return data
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not end and len(self._held) + len(data) > self._most:
            end = len(data)
        if not end:
            self._held += data
            return b""
        whole = bytes(self._held) + data[:end]
        self._held = bytearray(data[end:])
        return self._recoded(whole)

    def close(self) -> bytes:
        """The rest of the body, after its last part."""
        data, self._held = bytes(self._held), bytearray()
        return self._recoded(data)

    def _begin_wide(self, data: bytes) -> bytes:
        """The body, judged by its first bytes: decoded from UTF-16 or UTF-32, or its bytes where it is in neither."""
        data = bytes(self._held) + data
        if len(data) < _FIRST_BYTES:
            self._held = bytearray(data)
            return b""
        self._held.clear()
        charset = _wide_charset(data[:_FIRST_BYTES])
        if not charset:
            self._is_wide, self._is_utf_8 = False, True
            return data
        self._wide = codecs.getincrementaldecoder(charset)("replace")
        return self._wide.decode(data).removeprefix("\ufeff").encode("utf-8", "replace")

    def _recoded(self, data: bytes) -> bytes:
        if data.isascii():
            return data
        if self._is_utf_8 is None:
            self._is_utf_8 = _is_utf_8(data, may_be_wide=len(b"\xe4\xbd".decode(self._charset, "replace")) == 1)
        return data if self._is_utf_8 else data.decode(self._charset, "replace").encode("utf-8", "replace")


def marked(first: bytes) -> str:
    """The charset that the mark at the beginning of a body names; empty without one."""
    return _MARKS.get(first[:2], "")


def _wide_charset(first: bytes) -> str:
    """The charset of a body that begins so: with a mark, or with a sign of ASCII; empty for none of the wide ones."""
    for mark, charset in _WIDE_MARKS:
        if first.startswith(mark):
            return charset
    return _WIDE_ZEROS.get(tuple(byte == 0 for byte in first), "")


def _is_utf_8(data: bytes, *, may_be_wide: bool) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return not may_be_wide or all(char >= _CERTAIN for char in text if not char.isascii())
