"""The warning of requests whose budget is nearly used up: in a header, and once in the log and the metrics."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from threading import Lock

import structlog
from flask import Flask, Response, g

from app.domain.budget import Holder, Period, Standing
from app.domain.commands import User
from app.ops import metrics
from app.services.budgets import nearly_used

HEADER = "Unbroken-Budget-Warning"
# Warnings that a process remembers, so that it logs and counts each one once.
MOST_REMEMBERED = 10_000

_log = structlog.get_logger()


class BudgetWarnings:
    """The warnings of one application."""

    def __init__(self, app: Flask) -> None:
        self._known: OrderedDict[tuple[str, Holder, Period, str, datetime], None] = OrderedDict()
        self._lock = Lock()
        app.after_request(self._warn)

    def _warn(self, response: Response) -> Response:
        standings = nearly_used.get()
        if standings:
            nearly_used.set(())
            response.headers[HEADER] = header(standings)
            for standing in standings:
                self._tell(g.caller.user, standing)
        return response

    def _tell(self, user: User, standing: Standing) -> None:
        """Log and count a warning that is new to this process."""
        holder = (user.credential.key_id or "") if standing.of == "key" else user.id
        warning = (holder, standing.of, standing.period, standing.unit, standing.ends_at)
        with self._lock:
            if warning in self._known:
                return
            self._known[warning] = None
            if len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
        metrics.BUDGET_WARNINGS.labels(standing.of, standing.period).inc()
        _log.warning(
            "budget nearly used up",
            action="budget",
            of=standing.of,
            user_id=user.id,
            key_id=user.credential.key_id,
            period=standing.period,
            unit=standing.unit,
            limit=f"{standing.limit:f}",
            used=f"{standing.used:f}",
        )


def header(standings: Iterable[Standing]) -> str:
    """The header's value: a list of RFC 9651, with an item for each budget that is nearly used up."""
    return ", ".join(
        f"{one.of};period={one.period};unit={one.unit};limit={_number(one.limit)};used={_number(one.used)}"
        for one in standings
    )


def _number(value: object) -> str:
    """A number without an exponent, and with at most three digits behind its point."""
    text = f"{value:.3f}"
    return text.rstrip("0").rstrip(".")
