"""The tree of errors. A class names the event; the edges map it to their protocol."""

from __future__ import annotations


class UnbrokenError(Exception):
    """Something went wrong."""

    @property
    def detail(self) -> str:
        """The text for a person: the given message, or the first line of the class's docstring."""
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


class ModelNotAllowed(UnbrokenError):
    """The API key may not use this model."""

    def __init__(self, model: str) -> None:
        super().__init__(f"This key may not use the model {model[:80]!r}; its models are listed in /models.")


class UserBlocked(UnbrokenError):
    """Your access to this service is blocked. An operator of the service can end that."""


class TokenEnded(UnbrokenError):
    """The token was ended before it has expired."""


class SubjectTaken(TokenEnded):
    """The subject is that of a service account or of a user of an identity provider: no token can have it."""


class KeyReused(InvalidInput):
    """The idempotency key belongs to a request with another body."""

    def __init__(self) -> None:
        super().__init__("This idempotency key was used before with a different request body.", "client_msg_id")


class BeingErased(UnbrokenError):
    """Your data is being erased, as you have requested. When it is gone, a request of yours begins a new account."""


class ConversationBusy(UnbrokenError):
    """An answer is still being generated in this conversation."""


class WrongState(UnbrokenError):
    """The generation is in a state that does not allow this."""


class Overloaded(UnbrokenError):
    """Too much is waiting already; try again a little later.

    ``limit``: the variable of the limit that was reached, where one class stands for one limit.
    """

    retry_after = 5
    limit: str | None = None


class QueueFull(Overloaded):
    """As many generations of all users are waiting as may wait (MAX_QUEUED). Try again a little later."""

    limit = "MAX_QUEUED"


class OwnQueueFull(Overloaded):
    """As many of your generations are waiting as may wait for one user (MAX_QUEUED_PER_USER)."""

    limit = "MAX_QUEUED_PER_USER"


class TooManyStreams(Overloaded):
    """You have as many open streams as one user may have (MAX_STREAMS_PER_USER)."""

    limit = "MAX_STREAMS_PER_USER"


# A client is asked to wait for at most a day: it may not keep a longer time.
MOST_RETRY_SECONDS = 86_400


class QuotaUsed(Overloaded):
    """A budget of tokens or of money is used up. ``left``: seconds until its period ends."""

    def __init__(self, detail: str, left: float) -> None:
        super().__init__(detail)
        self.retry_after = min(max(1, int(left) + 1), MOST_RETRY_SECONDS)


class StoreDown(UnbrokenError):
    """A store does not answer just now; nothing was accepted. Try again a little later."""

    retry_after = 2


class DatabaseDown(StoreDown):
    """PostgreSQL does not answer just now; nothing was accepted. Try again a little later."""


class LogDown(StoreDown):
    """Redis does not answer just now."""


class ProviderDown(StoreDown):
    """The identity provider does not answer just now. Try again a little later."""

    retry_after = 5

    def __init__(self, reason: str) -> None:
        """``reason`` is for the log."""
        super().__init__()
        self.reason = reason


class SignInFailed(UnbrokenError):
    """The sign-in did not work. Please try again."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        """``reason`` is for the log, ``detail`` for the person."""
        super().__init__(*([detail] if detail else []))
        self.reason = reason


class LeaseLost(UnbrokenError):
    """Another claim has replaced this one; nothing more may be written under it."""
