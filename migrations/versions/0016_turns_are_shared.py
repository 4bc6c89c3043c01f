"""Slots are shared between users: each free slot is given to the user whose turn it is."""

from migrations.online import online, quickly

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# A column without a default, or with a constant one, is added to the catalogue only.
COLUMNS = """
-- When a worker last began an answer of this user.
ALTER TABLE users ADD COLUMN served_at timestamptz;
GRANT UPDATE (served_at) ON users TO unbroken_system;
-- Whether a doorbell is on its way for this queued answer. A worker that finds nothing it may begin clears it.
ALTER TABLE generations ADD COLUMN rung boolean NOT NULL DEFAULT true;
"""

# Queued and running generations by user. None of its columns changes while a lease is renewed.
INDEX = """INDEX {name} ON generations (status, user_id, created_at) INCLUDE (id)
    WHERE status IN ('queued', 'running')"""

# The answers of one conversation are made one after the other.
FREE = """NOT EXISTS (SELECT FROM generations ahead WHERE ahead.conversation_id = g.conversation_id
    AND ahead.seq < g.seq AND ahead.status IN ('queued', 'running'))"""

# Ends share this lock; a worker that finds no answer to begin waits until no end is being committed.
ENDS = "hashtextextended('ends of generations', 0)"

FUNCTIONS = {
    # The order of turns: the user with the fewest running answers comes first. Among equals, the user comes first whose
    # wait or last turn began longest ago. A user with as many running answers as a user may have is left out.
    "users_in_turn(most integer)": """
        RETURNS TABLE (user_id uuid) LANGUAGE sql STABLE AS $$
        SELECT w.user_id
        FROM (SELECT g.user_id, min(g.created_at) AS since FROM generations g WHERE g.status = 'queued'
              GROUP BY g.user_id) w
        LEFT JOIN (SELECT g.user_id, count(*) AS many FROM generations g WHERE g.status = 'running'
              GROUP BY g.user_id) r ON r.user_id = w.user_id
        JOIN users u ON u.id = w.user_id
        WHERE coalesce(r.many, 0) < most
        ORDER BY coalesce(r.many, 0), greatest(u.served_at, w.since), w.user_id $$""",
    # The oldest queued answer of a user that may begin now.
    "first_free(wanted uuid)": f"""
        RETURNS uuid LANGUAGE sql STABLE AS $$
        SELECT g.id FROM generations g WHERE g.status = 'queued' AND g.user_id = wanted AND {FREE}
        ORDER BY g.created_at, g.id LIMIT 1 $$""",
    # Choose the answer whose turn it is, and hold its user and its row until the transaction ends. Two transactions
    # that hold the same user would both count the running answers before either has begun one. A transaction waits
    # for a user only while it holds none: so no two wait for each other.
    "hold_turn(most integer, may_wait boolean, OUT chosen uuid, OUT was_rung boolean, OUT contended boolean)": f"""
        RETURNS record LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            who uuid;
            busy uuid;
        BEGIN
            contended := false;
            FOR who IN SELECT t.user_id FROM users_in_turn(most) t LOOP
                -- A user whose answers all wait for another one is not held.
                CONTINUE WHEN first_free(who) IS NULL;
                contended := true;
                PERFORM FROM users u WHERE u.id = who FOR NO KEY UPDATE SKIP LOCKED;
                IF FOUND THEN
                    may_wait := false;
                    SELECT g.id, g.rung INTO chosen, was_rung FROM generations g
                    WHERE g.status = 'queued' AND g.user_id = who AND {FREE} AND most >
                        (SELECT count(*) FROM generations r WHERE r.status = 'running' AND r.user_id = who)
                    ORDER BY g.created_at, g.id LIMIT 1 FOR UPDATE OF g SKIP LOCKED;
                    IF FOUND THEN
                        UPDATE users SET served_at = clock_timestamp() WHERE id = who;
                        RETURN;
                    END IF;
                ELSE
                    busy := coalesce(busy, who);
                END IF;
            END LOOP;
            IF may_wait AND busy IS NOT NULL THEN
                PERFORM FROM users u WHERE u.id = busy FOR NO KEY UPDATE;
            END IF;
        END $$""",
    # The answer that a free slot has to begin, held until the transaction ends; NULL when there is none. Without an
    # answer the doorbell is used up: the end of another answer sends a doorbell for those that wait. So the function
    # looks again while no end is being committed: either it sees the end, or the end sees the lack of a doorbell.
    "take_turn(most integer, OUT chosen uuid, OUT was_rung boolean)": f"""
        RETURNS record LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            contended boolean;
            is_alone boolean := false;
        BEGIN
            FOR attempt IN 1..50 LOOP
                SELECT h.chosen, h.was_rung, h.contended INTO chosen, was_rung, contended
                FROM hold_turn(most, attempt = 1) h;
                EXIT WHEN chosen IS NOT NULL;
                IF contended THEN
                    PERFORM pg_sleep(CASE WHEN attempt > 2 THEN 0.004 ELSE 0 END);
                ELSIF is_alone THEN
                    UPDATE generations g SET rung = false WHERE g.id IN (
                        SELECT q.id FROM generations q WHERE q.status = 'queued' AND q.rung FOR UPDATE SKIP LOCKED);
                    EXIT;
                ELSE
                    PERFORM pg_advisory_xact_lock({ENDS});
                    is_alone := true;
                END IF;
            END LOOP;
        END $$""",
}

# Each of these returns identifiers or numbers over the rows of all users, and no text.
FOR_THE_SERVICE = {
    # After an end: the first in turn of the answers that may begin and have no doorbell in the broker.
    "next_to_ring(most integer)": f"""
        RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            who uuid;
            found uuid;
        BEGIN
            PERFORM pg_advisory_xact_lock_shared({ENDS});
            FOR who IN SELECT t.user_id FROM users_in_turn(most) t LOOP
                UPDATE generations n SET rung = true, next_dispatch_at = now() WHERE n.id = (
                    SELECT g.id FROM generations g
                    WHERE g.status = 'queued' AND g.user_id = who AND NOT g.rung AND {FREE}
                    ORDER BY g.created_at, g.id LIMIT 1 FOR UPDATE OF g SKIP LOCKED)
                RETURNING n.id INTO found;
                EXIT WHEN found IS NOT NULL;
            END LOOP;
            RETURN found;
        END $$""",
    # The place of each of these queued answers in the order of turns, if no running one ends and no cap applies: a
    # user's n-th answer begins when others have as many running as this user has then.
    "places_in_queue(wanted uuid[])": """
        RETURNS TABLE (id uuid, place bigint) LANGUAGE sql STABLE AS $$
        SELECT q.id, q.place FROM (
            SELECT w.id, row_number() OVER (ORDER BY coalesce(r.many, 0) + w.nth, w.nth,
                greatest(u.served_at, w.since), w.user_id) AS place
            FROM (SELECT g.id, g.user_id,
                      row_number() OVER (PARTITION BY g.user_id ORDER BY g.created_at, g.id) AS nth,
                      min(g.created_at) OVER (PARTITION BY g.user_id) AS since
                  FROM generations g WHERE g.status = 'queued') w
            LEFT JOIN (SELECT g.user_id, count(*) AS many FROM generations g WHERE g.status = 'running'
                  GROUP BY g.user_id) r ON r.user_id = w.user_id
            JOIN users u ON u.id = w.user_id
        ) q WHERE q.id = ANY(wanted) $$""",
}
SEARCH_PATH = "pg_catalog, public, pg_temp"


def upgrade() -> None:
    with online() as steps:
        steps.index("generations_turns", INDEX)
    statements = [COLUMNS, "GRANT CREATE ON SCHEMA public TO unbroken_definer"]
    for signature, rest in {**FUNCTIONS, **FOR_THE_SERVICE}.items():
        name = _name(signature)
        statements += [
            f"CREATE FUNCTION {signature} {rest}",
            f"ALTER FUNCTION {name} SET search_path = {SEARCH_PATH}; REVOKE ALL ON FUNCTION {name} FROM PUBLIC",
            f"GRANT EXECUTE ON FUNCTION {name} TO unbroken_system",
        ]
    for signature in FOR_THE_SERVICE:
        name = _name(signature)
        statements += [
            f"GRANT EXECUTE ON FUNCTION {name} TO unbroken_app; ALTER FUNCTION {name} SECURITY DEFINER",
            f"ALTER FUNCTION {name} OWNER TO unbroken_definer",
        ]
    quickly(*statements, "REVOKE CREATE ON SCHEMA public FROM unbroken_definer")


def downgrade() -> None:
    quickly(
        *(f"DROP FUNCTION {_name(signature)}" for signature in (*FOR_THE_SERVICE, *FUNCTIONS)),
        """DROP INDEX generations_turns;
        ALTER TABLE generations DROP COLUMN rung;
        ALTER TABLE users DROP COLUMN served_at;
        """,
    )


def _name(signature: str) -> str:
    """A function's name without its arguments: none of these names has a second one."""
    return signature.partition("(")[0]
