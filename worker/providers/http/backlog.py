"""The bytes of a body that have come and are not handed over yet, decoded one bounded step at a time."""

from __future__ import annotations

from collections import deque

from app.domain.decompression import DamagedBody, Decoder, UnreadableEncoding, decoder_for
from worker.providers.http.interface import ConnectionBroken, HttpFailure, UnreadableBody


class Backlog:
    """The waiting bytes of one body, in the form they came in: so they are never more than what the socket gave.

    ``encodings`` is the body's Content-Encoding. ``plain`` is whether the body is read as it comes; None before its
    first byte. ``unread`` counts the bytes that wait undecoded. ``failure`` is set when the body cannot be decoded; no
    further byte is wanted then.
    """

    __slots__ = ("_decoder", "_raw", "encodings", "failure", "plain", "unread")

    def __init__(self) -> None:
        self.encodings = ""
        self.plain: bool | None = None
        self.unread = 0
        self.failure: HttpFailure | None = None
        self._decoder: Decoder | None = None
        self._raw: deque[bytes] = deque()

    @property
    def has_more(self) -> bool:
        """True while ``step`` may give more."""
        return bool(self._raw) or (self._decoder is not None and self._decoder.pending)

    @property
    def is_empty(self) -> bool:
        """True while no undecoded byte waits."""
        return not self._raw

    def begin(self, first: bytes) -> bool:
        """Choose by the encoding and the first bytes how the body is read. False, and a ``failure``: it cannot be."""
        try:
            decoder = decoder_for(self.encodings, first)
        except UnreadableEncoding as error:
            self.failure = UnreadableBody(str(error))
            return False
        self.plain = decoder.is_identity and first[:1] != b"\x1f"
        self._decoder = None if self.plain else decoder
        return True

    def append(self, data: bytes) -> None:
        """Add the next bytes of the body."""
        self._raw.append(data)
        self.unread += len(data)

    def step(self, *, complete: bool) -> bytes | None:
        """The next part, maybe empty; None when nothing waits. ``complete``: no byte follows."""
        try:
            if self._decoder is not None and self._decoder.pending:
                return self._decoder.step()
        except DamagedBody as error:
            self.clear()
            self._decoder = None
            self.failure = ConnectionBroken(str(error))
            return None
        if self._raw:
            data = self._raw.popleft()
            self.unread -= len(data)
            if self._decoder is None:
                return data
            self._decoder.feed(data)
            return b""
        if complete and self._decoder is not None:
            return self._decoder.close() or None
        return None

    def clear(self) -> None:
        """Forget the waiting bytes."""
        self._raw.clear()
        self.unread = 0
