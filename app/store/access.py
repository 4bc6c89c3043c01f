"""The end of access: of single tokens, of all tokens of a user, and of a blocked user.

Each function adds the name of what it ends to the revocations, in the transaction it is given. The caller records the
action in the audit, in that transaction, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from app.domain.credential import Credential, revocable, revocable_tokens, revocable_user
from app.domain.errors import SubjectTaken
from app.store import revocations
from app.store.database import Tx, execute, fetch, fetch_one

# Rows removed in one transaction.
PRUNED_AT_ONCE = 1000

State = Literal["active", "blocked", "erasing"]


class Access(NamedTuple):
    """A user's access with one token. ``tokens_from``: tokens issued before are refused; seconds since 1970."""

    id: str
    state: State
    tokens_from: float | None
    token_ended: bool


def of_token(tx: Tx, subject: str, fresh_id: str, digest: str) -> Access:
    """The access of a subject with a token, by the token's SHA-256 in hexadecimal digits; empty for any token.

    A user who is not known yet is added under ``fresh_id``. Raises SubjectTaken.
    """
    row = fetch_one(
        tx,
        "SELECT id, state, tokens_from, token_ended FROM access_of(:subject, CAST(:id AS uuid), :digest)",
        subject=subject,
        id=fresh_id,
        digest=bytes.fromhex(digest) or None,
    )
    if row is None:
        raise SubjectTaken
    return Access(*row)


def of_tokens(tx: Tx, presented: Sequence[tuple[str, str, str]]) -> dict[int, Access]:
    """The access of each of these, by its place: a subject, a fresh id and a digest, as for ``of_token``.

    A subject that nobody may have is left out.
    """
    # In one order everywhere: two transactions that add the same users do not wait for each other.
    order = sorted(range(len(presented)), key=lambda place: presented[place][0])
    rows = fetch(
        tx,
        """SELECT p.place, a.id, a.state, a.tokens_from, a.token_ended
           FROM unnest(CAST(:subjects AS text[]), CAST(:ids AS uuid[]), CAST(:digests AS bytea[]))
               WITH ORDINALITY AS p (subject, id, digest, place),
           LATERAL access_of(p.subject, p.id, p.digest) AS a""",
        subjects=[presented[place][0] for place in order],
        ids=[presented[place][1] for place in order],
        digests=[bytes.fromhex(presented[place][2]) or None for place in order],
    )
    return {order[row.place - 1]: Access(*row[1:]) for row in rows}


def state(tx: Tx, user_id: str) -> State | None:
    """The state of a user; None for an unknown id."""
    row = fetch_one(tx, "SELECT state_of_user(CAST(:user_id AS uuid)) AS state", user_id=user_id)
    assert row is not None, "a function has a result"
    found: State | None = row.state
    return found


def end_token(tx: Tx, digest: str, expires_at: float) -> None:
    """End one token, by its SHA-256 in hexadecimal digits. ``expires_at`` is its own end, in seconds since 1970."""
    execute(
        tx,
        "INSERT INTO ended_tokens (digest, expires_at) VALUES (:digest, to_timestamp(:expires_at))"
        " ON CONFLICT DO NOTHING",
        digest=bytes.fromhex(digest),
        expires_at=expires_at,
    )
    revocations.add(tx, [revocable(Credential("token", digest))])


def end_tokens(tx: Tx, user_id: str) -> None:
    """End every token of a user that was issued until now. For a transaction of that user.

    Tokens have whole seconds: one that is issued within the current second is refused, too.
    """
    execute(
        tx,
        "UPDATE users SET tokens_from = greatest(tokens_from, clock_timestamp()) WHERE id = :user_id",
        user_id=user_id,
    )
    revocations.add(tx, [revocable_tokens(user_id)])


def block(tx: Tx, user_id: str) -> bool:
    """Refuse a user everything until ``unblock``. For a transaction of an operator. False for an unknown id."""
    return _change(tx, "block_user", user_id)


def unblock(tx: Tx, user_id: str) -> bool:
    """End a user's block. For a transaction of an operator. False for an unknown id."""
    return _change(tx, "unblock_user", user_id)


def prune(tx: Tx) -> bool:
    """Forget ended tokens that have expired, PRUNED_AT_ONCE at most. True when there may be more."""
    removed = execute(
        tx,
        """DELETE FROM ended_tokens WHERE digest IN (
            SELECT digest FROM ended_tokens WHERE expires_at < now() - interval '1 minute'
            ORDER BY expires_at LIMIT :most)""",
        most=PRUNED_AT_ONCE,
    )
    return removed == PRUNED_AT_ONCE


def _change(tx: Tx, function: Literal["block_user", "unblock_user"], user_id: str) -> bool:
    row = fetch_one(tx, f"SELECT {function}(CAST(:user_id AS uuid)) AS changed", user_id=user_id)
    changed = row is not None and bool(row.changed)
    if changed:
        # Caches drop the user's state, too.
        revocations.add(tx, [revocable_user(user_id)])
    return changed
