"""Checks in the catalogue of PostgreSQL that the rows of users are kept apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from app.store.database import Tx, fetch, fetch_one

_WHO = """SELECT current_user AS role, session_user AS login, l.rolsuper OR l.rolbypassrls AS login_sees_all,
        l.rolcreaterole AS login_makes_roles, r.rolsuper OR r.rolbypassrls AS role_sees_all,
        pg_has_role(session_user, 'unbroken_system', 'SET') AS login_is_system,
        pg_has_role('unbroken_app', 'unbroken_system', 'MEMBER') AS app_is_system,
        (SELECT string_agg(CAST(c.oid AS regclass)::text, ', ' ORDER BY c.relname) FROM pg_class c
         WHERE c.relnamespace = CAST('public' AS regnamespace) AND c.relkind IN ('r', 'p')
             AND pg_has_role(session_user, c.relowner, 'MEMBER')) AS owned
    FROM pg_roles l, pg_roles r WHERE l.rolname = session_user AND r.rolname = current_user"""
# A table has data of users when it refers to users, directly or through others, or has a column user_id.
_TABLES = """WITH RECURSIVE reached AS (
        SELECT CAST('public.users' AS regclass)::oid AS oid
        UNION
        SELECT f.conrelid FROM pg_constraint f JOIN reached ON f.confrelid = reached.oid WHERE f.contype = 'f'
    ), named AS (
        SELECT oid FROM reached
        UNION
        SELECT a.attrelid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.attname = 'user_id' AND c.relkind IN ('r', 'p') AND c.relnamespace = CAST('public' AS regnamespace)
    )
    SELECT c.relname AS name, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced,
        coalesce((SELECT jsonb_agg(jsonb_build_array(
            (SELECT jsonb_agg(coalesce(r.rolname, 'public')) FROM unnest(p.polroles) AS given
                LEFT JOIN pg_roles r ON r.oid = given),
            pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)))
            FROM pg_policy p WHERE p.polrelid = c.oid), '[]') AS policies
    FROM named JOIN pg_class c ON c.oid = named.oid ORDER BY c.relname"""


def user_tables(tx: Tx) -> list[str]:
    """The tables that have data of users, from the catalogue."""
    return [row.name for row in fetch(tx, _TABLES)]


def reaches_everybody(tx: Tx) -> bool:
    """True when this login may take the role of the workers, which sees the rows of every user."""
    row = fetch_one(tx, "SELECT pg_has_role(session_user, 'unbroken_system', 'SET') AS reached")
    return bool(row and row.reached)


def breaches(tx: Tx, *, sees_everybody: bool = False, one_login: bool = False) -> list[str]:
    """A sentence for each gap in the isolation of users. ``tx`` is a transaction without a user.

    ``sees_everybody``: the process is a worker. ``one_login``: the operator allows the process to log in as the owner
    of the tables.
    """
    who = fetch_one(tx, _WHO)
    assert who is not None, "every role is in pg_roles"
    found = list(_of_role(who))
    if who.login_sees_all:
        found.append(
            f"DATABASE_URL logs in as {who.login}, for whom row-level security does not hold (a superuser or "
            f"BYPASSRLS); set MIGRATION_DATABASE_URL to this address and DATABASE_URL to a login of its own, "
            f"which `python -m app.ops.migrate` then creates."
        )
    elif not one_login:
        found += _of_login(who, sees_everybody)
    for table in fetch(tx, _TABLES):
        found += _of_table(table)
    return found


def _of_role(who: Any) -> Iterator[str]:
    if who.role != "unbroken_app":
        yield f"A transaction in a user's name has the role {who.role} instead of unbroken_app."
    if who.role_sees_all or who.app_is_system:
        yield (
            "The role unbroken_app sees everybody's rows; "
            "run: ALTER ROLE unbroken_app NOSUPERUSER NOBYPASSRLS; REVOKE unbroken_system FROM unbroken_app;"
        )


def _of_login(who: Any, sees_everybody: bool) -> Iterator[str]:
    advice = "set MIGRATION_DATABASE_URL to this address and DATABASE_URL to a login that owns nothing (docs/deploy.md)"
    if who.owned:
        yield f"DATABASE_URL logs in as {who.login}, who owns or may become the owner of {who.owned}; {advice}."
    elif who.login_makes_roles:
        yield f'DATABASE_URL logs in as {who.login}, who may change roles; run: ALTER ROLE "{who.login}" NOCREATEROLE;'
    elif who.login_is_system and not sees_everybody:
        yield (
            f"The web process logs in as {who.login}, who may become unbroken_system and see everybody's rows; "
            f'run: REVOKE unbroken_system FROM "{who.login}";'
        )


def _of_table(table: Any) -> Iterator[str]:
    if not (table.enabled and table.forced):
        yield f"Row-level security is not forced on {table.name}; run: ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"  # noqa: E501
    owner = "id" if table.name == "users" else "user_id"
    own = _plain(f"({owner} = (NULLIF(current_setting('app.user_id'::text, true), ''::text))::uuid)")
    policies = {tuple(sorted(roles)): (_plain(using), _plain(check)) for roles, using, check in table.policies}
    for roles, (using, check) in policies.items():
        if roles == ("unbroken_system",):
            continue
        if roles != ("unbroken_app",) or using != own or check not in (None, own):
            yield f"A policy of {table.name} for {', '.join(roles)} does not keep the rows of users apart."
    if ("unbroken_app",) not in policies or len(policies) != len(table.policies):
        yield f"{table.name} does not have exactly one policy for unbroken_app."


def _plain(expression: str | None) -> str | None:
    """An expression without the brackets, spaces and casts that PostgreSQL adds when it prints the expression."""
    return None if expression is None else re.sub(r"::\w+|[()\s]", "", expression).lower()
