"""The moments of a generation's life that nothing else in its row tells, appended by the statements that write the row.

A moment is a JSON object: ``at`` (seconds since 1970, PostgreSQL's clock), ``what``, ``epoch``, and what the kind has.
The first claim is in other columns, so the row of an answer that one call makes has none.
"""

from __future__ import annotations

# Moments in one row. Of more, the second is removed: the first and the newest ones stay.
MOST_MOMENTS = 100


def noted(what: str, *, epoch: str = "epoch", more: str = "", when: str = "true") -> str:
    """The assignment that appends a moment ``when`` a condition holds, for the SET of an UPDATE of generations.

    ``epoch`` and ``when`` are expressions over the earlier row. ``more`` are further pairs of jsonb_build_object, in
    SQL.
    """
    moment = (
        "jsonb_build_object('at', round(extract(epoch FROM clock_timestamp()), 3), "
        f"'what', '{what}', 'epoch', {epoch}{', ' + more if more else ''})"
    )
    return (
        f"moments = CASE WHEN NOT ({when}) THEN moments"
        f" WHEN jsonb_array_length(moments) >= {MOST_MOMENTS} THEN (moments - 1) || {moment}"
        f" ELSE coalesce(moments, '[]') || {moment} END"
    )
