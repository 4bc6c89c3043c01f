"""Decompression of an upstream's body in steps of bounded size. Pure."""

from __future__ import annotations

import zlib

from app.domain.errors import UnbrokenError

# The most bytes that one step yields.
STEP_BYTES = 64 * 1024
# The most encodings that may lie on top of each other.
MOST_ENCODINGS = 3

_GZIP = frozenset({"gzip", "x-gzip"})
_NOTHING = frozenset({"", "identity"})
_MAGIC = b"\x1f\x8b"
# zlib's window sizes: a gzip member, a zlib stream, a bare deflate stream.
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15


class UnreadableBody(UnbrokenError):
    """A body cannot be decoded."""


class UnreadableEncoding(UnreadableBody):
    """The body has a content encoding that cannot be decoded here; the message names it."""


class DamagedBody(UnreadableBody):
    """The body does not have the format of its content encoding."""


# The beginnings of a stream and of JSON, which no encoding has.
_TEXT = (b"data:", b"event:", b"id:", b"retry:", b":", b"{", b"[")


def decoder_for(encodings: str, first: bytes) -> Decoder:
    """The decoder of a body by its Content-Encoding and its first bytes, which may show that the label is wrong.

    Raises UnreadableEncoding.
    """
    try:
        return Decoder(encodings)
    except UnreadableEncoding:
        if first.lstrip().startswith(_TEXT):
            return Decoder()
        raise


class Decoder:
    """Decodes one body. ``encodings`` is its Content-Encoding header. Raises UnreadableEncoding.

    ``feed`` takes what came; then ``step`` yields a part at a time as long as there is anything ``pending``. A body
    that begins like gzip is read as gzip although nothing says so: no event stream and no JSON begins with those bytes.
    """

    def __init__(self, encodings: str = "") -> None:
        names = [name.strip().lower() for name in encodings.split(",")]
        applied = [name for name in names if name not in _NOTHING]
        unknown = [name for name in applied if name not in _GZIP and name != "deflate"]
        if unknown:
            raise UnreadableEncoding(unknown[0][:40])
        if len(applied) > MOST_ENCODINGS:
            raise UnreadableEncoding(f"{len(applied)} encodings at once")
        # The last one named was applied last, so it is undone first.
        stages: list[_Stage] = [_Deflate() if name == "deflate" else _Gzip() for name in reversed(applied)]
        self._stages = stages or [_Sniffer()]

    @property
    def is_identity(self) -> bool:
        """True while no encoding is named."""
        return isinstance(self._stages[0], _Sniffer)

    @property
    def pending(self) -> bool:
        """True while a step may yield more of the bytes that were fed."""
        return any(stage.pending for stage in self._stages)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._stages[0].feed(data)

    def step(self) -> bytes:
        """The next part of the decoded body, STEP_BYTES at most; maybe empty. Raises DamagedBody."""
        for at in range(len(self._stages) - 1, -1, -1):
            if self._stages[at].pending:
                data = self._stages[at].step()
                if at == len(self._stages) - 1:
                    return data
                self._stages[at + 1].feed(data)
                break
        return b""

    def close(self) -> bytes:
        """The bytes that are still held back at the end of the body."""
        last = self._stages[-1]
        return last.rest() if isinstance(last, _Sniffer) else b""


class _Stage:
    """One encoding: undone by one call of zlib a step."""

    def __init__(self) -> None:
        self._input = b""
        self._full = False  # the last step stopped at its limit: there may be more without further input

    @property
    def pending(self) -> bool:
        return self._full or bool(self._input)

    def feed(self, data: bytes) -> None:
        self._input += data

    def step(self) -> bytes:
        raise NotImplementedError

    def _inflate(self, inflater: zlib._Decompress) -> bytes:
        try:
            data = inflater.decompress(self._input, STEP_BYTES)
        except zlib.error as error:
            raise DamagedBody("the compressed body is damaged") from error
        self._input = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
        self._full = len(data) == STEP_BYTES and not inflater.eof
        return data


class _Gzip(_Stage):
    """Members of gzip, one behind the other. Some servers send every event as a member of its own.

    A body that does not begin like gzip is no gzip, whatever its label: it is read as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self._member: zlib._Decompress | None = None
        self._is_plain: bool | None = None

    def step(self) -> bytes:
        if self._is_plain is None:
            self._is_plain = not _MAGIC.startswith(self._input[:2])
        if self._is_plain:
            data, self._input = self._input[:STEP_BYTES], self._input[STEP_BYTES:]
            return data
        if self._member is None:
            self._input = self._input.lstrip(b"\0")  # padding between members
            if not self._input:
                return b""
            self._member = zlib.decompressobj(_GZIP_BITS)
        data = self._inflate(self._member)
        if self._member.eof:
            self._member = None
        return data


class _Deflate(_Stage):
    """Deflate, with the zlib header that the standard asks for or, as some servers send it, without."""

    def __init__(self) -> None:
        super().__init__()
        self._inflater: zlib._Decompress | None = None

    def step(self) -> bytes:
        if self._inflater is None:
            has_header = self._input[0] & 0x0F == 8 and self._input[0] >> 4 <= 7
            self._inflater = zlib.decompressobj(_ZLIB_BITS if has_header else _RAW_BITS)
        if self._inflater.eof:
            self._input = b""  # nothing belongs behind its end
            return b""
        return self._inflate(self._inflater)


class _Sniffer(_Stage):
    """No encoding, unless the first two bytes are those of gzip."""

    def __init__(self) -> None:
        super().__init__()
        self._gzip: _Gzip | None = None
        self._begun = False

    @property
    def pending(self) -> bool:
        return self._gzip.pending if self._gzip else len(self._input) > 1 or (self._begun and bool(self._input))

    def feed(self, data: bytes) -> None:
        if self._gzip:
            self._gzip.feed(data)
            return
        self._input += data
        if self._input and not self._begun and (len(self._input) > 1 or self._input[:1] != _MAGIC[:1]):
            self._begun = True
            if self._input.startswith(_MAGIC):
                self._gzip = _Gzip()
                self._gzip.feed(self.rest())

    def step(self) -> bytes:
        if self._gzip:
            return self._gzip.step()
        return self.rest()

    def rest(self) -> bytes:
        data, self._input = self._input, b""
        return data
