"""The chat completions protocol, pure: the bytes of an answer to pieces.

``request`` makes the request, ``reading.framing`` finds the events, ``chunks`` knows the chunks,
``template`` is their short way.
"""

from __future__ import annotations

from collections.abc import Iterable

from worker.limits import Limits
from worker.providers.base import Piece, ProviderError, Usage
from worker.providers.chat.chunks import ChunkReader
from worker.providers.chat.template import Template
from worker.providers.reading.framing import ChatParser
from worker.providers.reading.sse import SseEvent

# So many chunks in a row are studied for a template in vain; then the stream goes without one.
_MAX_LESSONS = 4
# Around the word in the mark of the end: `[DONE]`, `"[DONE]"`, `DONE`.
_AROUND_DONE = b" \t\r\n\"'[]<>"


class AnswerReader:
    """Reads one answer. It raises nothing: an error is in ``failure``, after the pieces that came before it.

    ``done`` is set when nothing more can follow: then the last piece was a Finished, or ``failure`` is set.
    ``finish_seen`` is set when the upstream has named its finish reason: the text is then complete, even if the rest
    of the body is lost.
    """

    __slots__ = ("_chunks", "_is_direct", "_learned", "_lessons", "_limits", "_parser", "_template", "done",
                 "finish_seen")  # fmt: skip

    def __init__(self, *, secrets: Iterable[str] = (), limits: Limits = Limits()) -> None:  # noqa: B008  # frozen
        self._limits = limits
        self._parser = ChatParser(limits.event_bytes)
        self._chunks = ChunkReader(secrets, limits)
        self._learned: Template | None = None
        self._template: Template | None = None  # the one that was learned, while it may be used
        self._is_direct = False  # its pieces need no further look
        self._lessons = 0
        self.done = False
        self.finish_seen = False

    @property
    def failure(self) -> ProviderError | None:
        """The error the answer ended with."""
        return self._chunks.failure

    @property
    def usage(self) -> Usage | None:
        """The usage that the upstream has reported until now; None before its first report."""
        return self._chunks.usage

    @property
    def skipped(self) -> int:
        """The number of events that were no JSON objects, before the finish reason."""
        return self._chunks.skipped

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces of one network read; the list is the caller's."""
        template = self._template
        if template is not None and self._parser.between_events:
            pieces = template.read(data)
            if pieces is not None:
                self._lessons = 0
                return pieces if self._is_direct else self._refined(pieces, template)
        pieces = self._read(self._parser.feed(data))
        if self._parser.overflown:
            self._chunks.fail(self._limits.exceeded("event_bytes"))
            return pieces + self._end()
        if self._parser.is_page:
            self._chunks.fail(_page())
            self.done = True
        return pieces

    def close(self) -> list[Piece]:
        """The pieces left at the end of the body. Afterwards the answer is ``done``."""
        pieces = self._read(self._parser.close())
        if self._parser.is_page:
            self._chunks.fail(_page())
        self._chunks.conclude()
        return pieces + self._end()

    def feed_document(self, body: bytes) -> list[Piece]:
        """The pieces of a whole body."""
        pieces = self.feed(body)
        return pieces if self.done else pieces + self.close()

    def _end(self) -> list[Piece]:
        self.done, self._template = True, None
        return self._chunks.take()

    def _refined(self, pieces: list[Piece], template: Template) -> list[Piece]:
        pieces = self._chunks.refine(pieces)
        self._is_direct = self._chunks.takes_unseen(template.kind)
        return pieces

    def _read(self, events: list[SseEvent]) -> list[Piece]:
        chunks, learned = self._chunks, self._learned
        for event in events:
            if chunks.done:
                break
            data = event.data
            if data == b"[DONE]" or _is_done(data):
                chunks.conclude(is_marked=True)
            elif event.name == "error":
                chunks.report(data)
            elif data:
                chunks.read(data)
                if self._lessons < _MAX_LESSONS:
                    self._lessons += 1
                    learned = Template.of(data)
        self._learned = learned
        self.done, self.finish_seen = chunks.done, chunks.finish_reason is not None
        self._template = None if self.done or self.finish_seen or chunks.held else learned
        self._is_direct = self._template is not None and chunks.takes_unseen(self._template.kind)
        return chunks.take()


def _is_done(data: bytes) -> bool:
    return len(data) < 20 and data.strip(_AROUND_DONE).upper() == b"DONE"


def _page() -> ProviderError:
    """The error of a login page or a wrong address; a retry would read the same."""
    return ProviderError("upstream_malformed", "The upstream answered with a web page.", retryable=False)
