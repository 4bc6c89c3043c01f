"""The providers of a process, built from its upstreams and found by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from app.domain.upstreams import Upstream, UpstreamKind
from worker.limits import Limits
from worker.providers.anthropic.provider import Anthropic
from worker.providers.base import Provider
from worker.providers.chat.provider import OpenAICompatible
from worker.providers.gemini.interactions import Interactions
from worker.providers.gemini.provider import Gemini
from worker.providers.learning.learned import Learned
from worker.providers.offline.provider import Offline
from worker.providers.responses.provider import OpenAIResponses

# The class for each protocol of an upstream.
KINDS: dict[UpstreamKind, Callable[[Upstream, Limits, Learned], Provider]] = {
    "openai": lambda upstream, limits, learned: OpenAICompatible(upstream, limits, learned=learned),
    "anthropic": lambda upstream, limits, learned: Anthropic(upstream, limits, learned=learned),
    "gemini": lambda upstream, limits, learned: Gemini(upstream, limits, learned=learned),
}
# The class for each protocol whose upstreams keep runs, for an upstream in background mode.
KEEPERS: dict[UpstreamKind, Callable[[Upstream, Limits, Learned], Provider]] = {
    "openai": lambda upstream, limits, learned: OpenAIResponses(upstream, limits, learned=learned),
    "gemini": lambda upstream, limits, learned: Interactions(upstream, limits, learned=learned),
}


class UnknownProvider(LookupError):
    """No provider of that name is configured."""


class UnknownKind(ValueError):
    """No class speaks the protocol of an upstream."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(
            f"The upstream {upstream.name} has the kind {upstream.kind}; this release has {', '.join(KINDS)}."
        )


class NoBackground(UnknownKind):
    """The protocol of an upstream has no background mode here."""

    def __init__(self, upstream: Upstream) -> None:
        ValueError.__init__(
            self,
            f"The upstream {upstream.name} has the kind {upstream.kind}, which has no background mode here: "
            f"UPSTREAM_<NAME>_BACKGROUND=1 needs the kind {' or '.join(KEEPERS)}.",
        )


def _class_of(upstream: Upstream) -> Callable[[Upstream, Limits, Learned], Provider]:
    """The class for an upstream. Raises UnknownKind."""
    if upstream.kind not in KINDS:
        raise UnknownKind(upstream)
    if upstream.background and upstream.kind not in KEEPERS:
        raise NoBackground(upstream)
    return KEEPERS[upstream.kind] if upstream.background else KINDS[upstream.kind]


class Providers:
    """``offline`` and ``offline-fast`` always; one more for each upstream, under its name.

    Building it opens nothing: connections appear with the first request, in the loop that makes it. Raises UnknownKind.
    """

    def __init__(
        self,
        upstreams: Iterable[Upstream] = (),
        limits: Limits = Limits(),  # noqa: B008  # frozen
        learned: Learned | None = None,
    ) -> None:
        self.learned = learned or Learned()
        self._providers: dict[str, Provider] = {"offline": Offline(), "offline-fast": Offline(rate=None)}
        self._upstreams = tuple(upstreams)
        self._limits = limits
        self._continuing: dict[tuple[str, str], Provider] = {}
        for upstream in self._upstreams:
            self._providers[upstream.name] = _class_of(upstream)(upstream, limits, self.learned)

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which ``get`` finds a provider."""
        return tuple(self._providers)

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """The upstreams in their order; ``get`` finds the provider of each by its name."""
        return self._upstreams

    def get(self, name: str, continuation: str | None = None) -> Provider:
        """The provider of this name; with a ``continuation``, one that continues in this way. Raises UnknownProvider.

        A way that the upstream's kind does not have leads to the upstream's own.
        """
        if name not in self._providers:
            raise UnknownProvider(name)
        if continuation is None:
            return self._providers[name]
        if (name, continuation) not in self._continuing:
            self._continuing[name, continuation] = self._make_continuing(name, continuation)
        return self._continuing[name, continuation]

    def _make_continuing(self, name: str, continuation: str) -> Provider:
        for upstream in self._upstreams:
            if upstream.name == name and continuation != upstream.continuation:
                try:
                    changed = replace(upstream, continuation=continuation)
                    return _class_of(upstream)(changed, self._limits, self.learned)
                except ValueError:
                    break
        return self._providers[name]

    async def close(self) -> None:
        """Close the connections of all providers, in the event loop that used them."""
        for provider in {*self._providers.values(), *self._continuing.values()}:
            await provider.close()
