"""The model names that an upstream offers, one row for each upstream. Only PostgreSQL's clock counts here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.store.database import Tx, execute, fetch, fetch_one


@dataclass(frozen=True, slots=True)
class UpstreamModels:
    """The last list of an upstream, in its own order.

    ``listed_at`` is None, and ``names`` empty, before the first successful refresh. ``trouble`` is the reason of the
    last refresh when that failed; the names of the refresh before it are kept.
    """

    names: tuple[str, ...] = ()
    listed_at: datetime | None = None
    trouble: str | None = None


def every(tx: Tx, upstreams: Sequence[str]) -> dict[str, UpstreamModels]:
    """The stored lists of these upstreams, in their order; an empty one where no worker has stored any."""
    rows = fetch(
        tx,
        "SELECT upstream, names, listed_at, trouble FROM upstream_models WHERE upstream = ANY(:upstreams)",
        upstreams=list(upstreams),
    )
    stored = {row.upstream: UpstreamModels(tuple(row.names), row.listed_at, row.trouble) for row in rows}
    return {upstream: stored.get(upstream, UpstreamModels()) for upstream in upstreams}


def claim(tx: Tx, upstream: str, seconds: float) -> bool:
    """Reserve the next refresh for this worker. False while the list is fresh, or another worker refreshes it.

    The reservation ends after ``seconds`` when the worker stores neither a list nor a failure.
    """
    row = fetch_one(
        tx,
        """INSERT INTO upstream_models AS u (upstream, refresh_at)
           VALUES (:upstream, now() + make_interval(secs => :seconds))
           ON CONFLICT (upstream) DO UPDATE SET refresh_at = EXCLUDED.refresh_at WHERE u.refresh_at <= now()
           RETURNING 1 AS claimed""",
        upstream=upstream,
        seconds=seconds,
    )
    return row is not None


def expire(tx: Tx, upstream: str) -> None:
    """Let the next claim succeed, however fresh the list is."""
    execute(tx, "UPDATE upstream_models SET refresh_at = now() WHERE upstream = :upstream", upstream=upstream)


def replace(tx: Tx, upstream: str, names: Sequence[str], fresh_seconds: float) -> None:
    """Store a new list; it is refreshed after ``fresh_seconds``."""
    execute(
        tx,
        """UPDATE upstream_models SET names = :names, listed_at = now(), trouble = NULL,
                  refresh_at = now() + make_interval(secs => :seconds)
           WHERE upstream = :upstream""",
        upstream=upstream,
        names=list(names),
        seconds=fresh_seconds,
    )


def keep(tx: Tx, upstream: str, trouble: str, retry_seconds: float) -> None:
    """Store the reason of a failed refresh, and keep the names; the next refresh is due after ``retry_seconds``."""
    execute(
        tx,
        """UPDATE upstream_models SET trouble = :trouble, refresh_at = now() + make_interval(secs => :seconds)
           WHERE upstream = :upstream""",
        upstream=upstream,
        trouble=trouble,
        seconds=retry_seconds,
    )


def kinds(tx: Tx, upstreams: Sequence[str]) -> dict[str, str]:
    """The kinds of these upstreams, as far as a worker has stored them."""
    rows = fetch(
        tx,
        "SELECT upstream, kind FROM upstream_models WHERE upstream = ANY(:upstreams) AND kind IS NOT NULL",
        upstreams=list(upstreams),
    )
    return {row.upstream: row.kind for row in rows}


def store_kind(tx: Tx, upstream: str, kind: str) -> None:
    """Store the kind of an upstream, as the configuration of this worker has it."""
    execute(
        tx,
        """INSERT INTO upstream_models AS u (upstream, kind) VALUES (:upstream, :kind)
           ON CONFLICT (upstream) DO UPDATE SET kind = EXCLUDED.kind WHERE u.kind IS DISTINCT FROM EXCLUDED.kind""",
        upstream=upstream,
        kind=kind,
    )
