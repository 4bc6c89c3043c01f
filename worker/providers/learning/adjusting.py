"""Repeats a request without the parts that its upstream refuses by name, and remembers them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import structlog

from worker.providers.base import ProviderError
from worker.providers.learning.learned import Lacks, Learned
from worker.providers.learning.refusals import STATUSES, quotes_value

# The most repetitions of one request. They are no attempts of MAX_ATTEMPTS: a refused request costs nothing.
MOST_ADJUSTMENTS = 4

_log = structlog.get_logger()

Body = dict[str, Any]
# The capability that a refusal of a body denies, None where the request cannot do without it.
Judge = Callable[[object, Mapping[str, Any]], str | None]


class Adjuster:
    """Sends the requests of one upstream. ``judge`` reads its refusals, such as ``capabilities.lacking``."""

    def __init__(self, upstream: str, learned: Learned, judge: Judge) -> None:
        self._upstream = upstream
        self._learned = learned
        self._judge = judge

    def lacks(self, model: str) -> Lacks:
        """The capabilities that a model is known to lack."""
        return self._learned.lacks(self._upstream, model)

    async def run(
        self,
        model: str,
        build: Callable[[Lacks], Body],
        send: Callable[[Body, Lacks, Callable[[], None] | None], Awaitable[None]],
    ) -> None:
        """Send what ``build`` makes for the capabilities that the model lacks. Raises ProviderError.

        ``send`` calls its last argument, unless it is None, when the upstream has accepted the request: only then is a
        refusal remembered. One that quotes the value is not: the next request may have another one.
        """
        lacks = known = remembered = self.lacks(model)
        body, accepted = build(lacks), None
        for _ in range(MOST_ADJUSTMENTS):
            try:
                await send(body, lacks, accepted)
            except ProviderError as error:
                more = self._judge(error.refusal, body) if error.upstream_status in STATUSES else None
                if more is None or more in lacks:
                    raise
                lacks |= {more}
                if not quotes_value(error.refusal, body.get(more)):
                    remembered |= {more}
                before, body = body, build(lacks)
                if body == before:
                    raise
                if remembered != known:
                    accepted = partial(self._learned.learn, self._upstream, model, remembered)
                _log.info(
                    "parameter refused by name", action="adjust", upstream=self._upstream, model=model, capability=more
                )
            else:
                return
        await send(body, lacks, accepted)
