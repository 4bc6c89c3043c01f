"""Charges for calls beside answers: for titles and embeddings. A charge outlasts a PostgreSQL that is away shortly."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

import structlog

from app.domain.backoff import Backoff
from app.domain.errors import DatabaseDown
from app.domain.usage import cost_of
from app.store import model_configs, usage
from app.store.database import Database
from app.store.usage import Charge

# Seconds for which a charge is tried again. After that it is dropped, and a log line has its numbers.
CHARGE_SECONDS = 30.0
BACKOFF = Backoff(first=0.1, longest=2.0, jitter=0.5)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Call:
    """A call beside answers: whose it was, its model, and its usage or an estimate of it.

    ``key_id``: the API key that it counts for; None for another credential.
    """

    user_id: str
    key_id: str | None
    model: str
    usage: Mapping[str, Any]


class PendingCharge:
    """A charge that is to be written once."""

    def __init__(self, database: Database, call: Call) -> None:
        self._database = database
        self._call = call
        self._transaction: str | None = None  # the last one whose commit was not confirmed

    def write(self) -> None:
        """Add the usage at the model's price. Raises DatabaseDown; then the same call may be repeated.

        The reply to a COMMIT can be lost: a repeated call finds out whether the transaction was committed.
        """
        call = self._call
        with self._database.user(call.user_id) as tx:
            if self._transaction is not None and usage.was_committed(tx, self._transaction):
                return
            cost, currency = cost_of(call.usage, model_configs.price(tx, call.model))
            usage.add(tx, Charge(call.user_id, call.key_id, call.model, call.usage, cost, currency, generations=0))
            self._transaction = usage.transaction_id(tx)

    def insist(self, seconds: float, leaving: Event) -> bool:
        """Write the charge; try again for ``seconds``, or until ``leaving``, while PostgreSQL is away.

        False: the charge was dropped, and a log line has its numbers.
        """
        until, failures = time.monotonic() + seconds, 0
        while True:
            try:
                self.write()
            except DatabaseDown:
                pause = BACKOFF.pause(failures)
                if time.monotonic() + pause >= until or leaving.wait(pause):
                    self._log_loss()
                    return False
                failures += 1
            else:
                return True

    def _log_loss(self) -> None:
        call = self._call
        _log.error(
            "usage not counted",
            action="charge",
            limit="CHARGE_SECONDS",
            user_id=call.user_id,
            key_id=call.key_id,
            model=call.model,
            input_tokens=call.usage.get("input_tokens"),
            output_tokens=call.usage.get("output_tokens"),
        )
