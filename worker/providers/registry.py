"""The providers of a process, built from plain values and found by name."""

from __future__ import annotations

from worker.providers.base import Provider
from worker.providers.offline import Offline
from worker.providers.openai_compatible import OpenAICompatible


class UnknownProvider(LookupError):
    """No provider of that name is configured."""


class Providers:
    """``offline`` and ``offline-fast`` always; ``openai`` when a base URL is given.

    Building it opens nothing: connections appear with the first request, in the loop that makes it.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        continuation: str = "instruction",
        include_usage: bool = True,
    ) -> None:
        self._providers: dict[str, Provider] = {"offline": Offline(), "offline-fast": Offline(rate=None)}
        self._upstream: OpenAICompatible | None = None
        if base_url:
            self._upstream = OpenAICompatible(base_url, api_key, continuation=continuation, include_usage=include_usage)
            self._providers["openai"] = self._upstream

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._providers)

    @property
    def upstream(self) -> OpenAICompatible | None:
        """The OpenAI-compatible upstream, for its list of models."""
        return self._upstream

    def get(self, name: str) -> Provider:
        """Raises UnknownProvider."""
        try:
            return self._providers[name]
        except KeyError:
            raise UnknownProvider(name) from None

    async def close(self) -> None:
        """Call it in the loop that used the providers."""
        for provider in self._providers.values():
            await provider.close()
