"""One tree of errors. A class says what happened; the edges decide what it means."""

from __future__ import annotations


class UnbrokenError(Exception):
    """Something went wrong."""

    @property
    def detail(self) -> str:
        """What to tell the person: the given message, or the first line of the class's docstring."""
        if self.args:
            return str(self.args[0])
        return (type(self).__doc__ or "").strip().splitlines()[0]


class InvalidInput(UnbrokenError):
    """The request does not make sense. ``field`` names the part of it that does not."""

    def __init__(self, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.field = field


class MalformedInput(InvalidInput):
    """The request cannot even be read."""


class InvalidCursor(MalformedInput):
    """A cursor has the form <epoch>-<n>, for example 1-42, and names a position this log can have."""

    def __init__(self, text: str) -> None:
        shown = text if len(text) <= 40 else text[:40] + "…"
        super().__init__(f"{shown!r} is not a position in this stream; a cursor looks like 1-42.", "after")


class NotFound(UnbrokenError):
    """There is no such thing, or it is not yours."""


class KeyReused(InvalidInput):
    """The idempotency key belongs to a request with another body."""

    def __init__(self) -> None:
        super().__init__("This idempotency key was used before with a different request body.", "client_msg_id")


class ConversationBusy(UnbrokenError):
    """An answer is still being generated in this conversation."""


class WrongState(UnbrokenError):
    """The generation is in a state that does not allow this."""


class Overloaded(UnbrokenError):
    """Too much is waiting already; try again a little later."""

    retry_after = 5


class TooManyStreams(Overloaded):
    """You have as many open streams as one user may have."""


class QuotaUsed(Overloaded):
    """You have used up your tokens for today; the day ends at midnight UTC."""

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class StoreDown(UnbrokenError):
    """A store does not answer just now; nothing was accepted. Try again a little later."""

    retry_after = 2


class DatabaseDown(StoreDown):
    """PostgreSQL does not answer just now; nothing was accepted. Try again a little later."""


class LogDown(StoreDown):
    """Redis does not answer just now."""


class LeaseLost(UnbrokenError):
    """Another claim has replaced this one; nothing more may be written under it."""
