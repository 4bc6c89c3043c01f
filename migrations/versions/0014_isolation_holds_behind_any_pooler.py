"""Row-level security is forced; web processes reach rows of other users through narrow functions only."""

from migrations.online import quickly

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TABLES = (
    "users",
    "conversations",
    "messages",
    "generations",
    "generation_chunks",
    "generation_archives",
    "responses",
    "reserved_conversations",
    "client_chats",
    "stream_tickets",
    "feeds",
    "feed_events",
    "usage_days",
)

# unbroken_operator is for administrators in the web process: models, and generations without their text.
# unbroken_definer owns the functions that see all users' rows. No login of the service may set it, so that none can
# change such a function.
# The owner of the tables may set these roles and does not inherit their rights: forced row-level security shows the
# owner no row. migrations/env.py lets the owner inherit unbroken_system while migrations run.
ROLES = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'unbroken_operator') THEN
        CREATE ROLE unbroken_operator NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'unbroken_definer') THEN
        CREATE ROLE unbroken_definer NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- roles are shared by all databases of a server, and another one was quicker
END $$;
DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'unbroken_operator', 'SET') THEN
        GRANT unbroken_operator TO CURRENT_USER WITH INHERIT FALSE, SET TRUE;
    END IF;
    IF NOT pg_has_role(current_user, 'unbroken_definer', 'SET') THEN
        GRANT unbroken_definer TO CURRENT_USER WITH INHERIT TRUE, SET TRUE;
    END IF;
    IF NOT pg_has_role('unbroken_definer', 'unbroken_system', 'USAGE') THEN
        GRANT unbroken_system TO unbroken_definer WITH INHERIT TRUE, SET FALSE;
    END IF;
END $$;
GRANT USAGE ON SCHEMA public TO unbroken_operator, unbroken_definer;
GRANT SELECT, INSERT, UPDATE, DELETE ON models TO unbroken_operator;
GRANT SELECT, INSERT ON model_versions TO unbroken_operator;
GRANT SELECT ON workers TO unbroken_operator;
GRANT SELECT ON alembic_version TO unbroken_app, unbroken_operator, unbroken_system;
-- An end is written in its user's name.
GRANT INSERT, UPDATE ON usage_days TO unbroken_app;
DO $$
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END $$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
"""

# Each of these returns identifiers or numbers over the rows of all users, and no text.
FOR_THE_SERVICE = {
    "account_of(wanted text, fresh uuid)": """
        RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            found uuid := (SELECT id FROM users WHERE subject = wanted);
        BEGIN
            IF found IS NULL THEN
                INSERT INTO users (id, subject) VALUES (fresh, wanted) ON CONFLICT (subject) DO NOTHING;
                found := (SELECT id FROM users WHERE subject = wanted);
            END IF;
            RETURN found;
        END $$""",
    "owner_of_generation(wanted uuid)": """
        RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT user_id FROM generations WHERE id = wanted $$""",
    "owner_of_conversation(wanted uuid)": """
        RETURNS uuid LANGUAGE sql STABLE AS $$
        SELECT user_id FROM conversations WHERE id = wanted
        UNION ALL -- deleted, and its feed says so to those who follow it
        SELECT user_id FROM feed_events WHERE conversation_id = wanted AND conversation_seq IS NOT NULL
        LIMIT 1 $$""",
    # A ticket is a secret of 256 bits, and only its digest is here.
    "use_ticket(wanted bytea, wanted_object text, open_seconds float8, reopen_seconds float8)": """
        RETURNS TABLE (user_id uuid, subject text, token_expires_at timestamptz) LANGUAGE sql VOLATILE AS $$
        UPDATE stream_tickets t SET opened_at = coalesce(t.opened_at, now()) FROM users u
        WHERE t.digest = wanted
            AND CAST(t.object AS text) = coalesce(lower(wanted_object), CAST(t.user_id AS text)) AND u.id = t.user_id
            AND t.token_expires_at > now()
            AND t.created_at > now() - make_interval(
                secs => CASE WHEN t.opened_at IS NULL THEN open_seconds ELSE reopen_seconds END)
        RETURNING t.user_id, u.subject, t.token_expires_at $$""",
    "log_ends(wanted uuid[])": """
        RETURNS TABLE (id uuid, status text, epoch integer, n integer) LANGUAGE sql STABLE AS $$
        SELECT g.id, g.status, coalesce(g.final_epoch, c.epoch), coalesce(g.final_n, c.last_n)
        FROM generations g LEFT JOIN LATERAL (
            SELECT epoch, last_n FROM generation_chunks WHERE generation_id = g.id
            ORDER BY epoch DESC, first_n DESC LIMIT 1
        ) c ON g.final_epoch IS NULL
        WHERE g.id = ANY(wanted) $$""",
    "queue_positions(wanted uuid[])": """
        RETURNS TABLE (id uuid, queue_position bigint) LANGUAGE sql STABLE AS $$
        SELECT g.id, queue_position(g.id) FROM generations g WHERE g.id = ANY(wanted) AND g.status = 'queued' $$""",
    "conversation_feed_tops(wanted uuid[])": """
        RETURNS TABLE (id uuid, seq integer) LANGUAGE sql STABLE AS $$
        SELECT c.id, c.feed_seq FROM conversations c WHERE c.id = ANY(wanted) $$""",
    "user_feed_tops(wanted uuid[])": """
        RETURNS TABLE (id uuid, seq integer) LANGUAGE sql STABLE AS $$
        SELECT u.id, coalesce(f.seq, 0) FROM users u LEFT JOIN feeds f ON f.user_id = u.id WHERE u.id = ANY(wanted)
        $$""",
    "generation_census(lost_seconds float8, stuck_seconds float8)": """
        RETURNS TABLE (queued bigint, running bigint, working bigint, stuck bigint, lost bigint, oldest float8,
            abandoned float8) LANGUAGE sql STABLE AS $$
        SELECT count(*) FILTER (WHERE g.status = 'queued'), count(*) FILTER (WHERE g.status = 'running'),
            count(*) FILTER (WHERE g.status = 'running' AND g.lease_until > now()),
            count(*) FILTER (WHERE s.stuck OR s.lost), count(*) FILTER (WHERE s.lost),
            CAST(coalesce(extract(epoch FROM now() - min(g.created_at) FILTER (WHERE g.status = 'queued')), 0)
                AS float8),
            CAST(coalesce(extract(epoch FROM now() - min(coalesce(g.lease_until, g.next_dispatch_at))
                FILTER (WHERE g.status = 'running')), 0) AS float8)
        FROM generations g LEFT JOIN workers w ON w.name = g.worker CROSS JOIN LATERAL (
            SELECT g.status = 'running' AND coalesce(g.lease_until, g.next_dispatch_at) < now()
                    OR g.status = 'queued' AND g.created_at < now() - make_interval(secs => stuck_seconds) AS stuck,
                g.status = 'running' AND w.last_seen < now() - make_interval(secs => lost_seconds) AS lost
        ) s
        WHERE g.status IN ('queued', 'running') $$""",
}
FOR_OPERATORS = {
    "model_is_used(wanted text)": """
        RETURNS boolean LANGUAGE sql STABLE AS $$
        SELECT EXISTS (SELECT FROM conversations WHERE model = wanted)
            OR EXISTS (SELECT FROM usage_days WHERE model = wanted)
            OR EXISTS (SELECT FROM generations WHERE model = wanted AND status IN ('queued', 'running')) $$""",
    # A plan for each call: most filters are not given, and an index serves those that are.
    """watched_generations(wanted uuid, wanted_status text, wanted_stuck boolean, wanted_user text, before uuid,
        stuck_seconds float8, most integer)""": """
        RETURNS TABLE (id uuid, user_id uuid, subject text, conversation_id uuid, message_id uuid,
            user_message_id uuid, model text, status text, epoch integer, tries integer, dispatches integer,
            worker text, lease_seconds float8, stuck boolean, parameters jsonb, attempts jsonb, error jsonb,
            cancel_at timestamptz, created_at timestamptz, started_at timestamptz, finished_at timestamptz,
            last_updated timestamptz)
        LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
        #variable_conflict use_column
        BEGIN
            RETURN QUERY
                SELECT g.id, g.user_id, u.subject, g.conversation_id, g.message_id, g.user_message_id, g.model,
                    g.status, g.epoch, g.tries, g.dispatches, g.worker,
                    CAST(extract(epoch FROM g.lease_until - now()) AS float8), s.stuck, g.parameters, g.attempts,
                    g.error, g.cancel_at, g.created_at, g.started_at, g.finished_at, g.last_updated
                FROM generations g JOIN users u ON u.id = g.user_id CROSS JOIN LATERAL (
                    SELECT g.status = 'running' AND coalesce(g.lease_until, g.next_dispatch_at) < now()
                        OR g.status = 'queued' AND g.created_at < now() - make_interval(secs => stuck_seconds) AS stuck
                ) s
                WHERE (wanted IS NULL OR g.id = wanted) AND (wanted_status IS NULL OR g.status = wanted_status)
                    AND (wanted_stuck IS NULL OR s.stuck = wanted_stuck)
                    AND (wanted_user IS NULL OR u.subject = wanted_user OR CAST(u.id AS text) = wanted_user)
                    AND (before IS NULL OR g.id < before)
                ORDER BY g.id DESC LIMIT most;
        END $$""",
}
# Functions of earlier migrations, made by the owner of the tables. The rights to call them stay.
EARLIER = (
    "queued_total()",
    "queue_position(uuid)",
    "search_mine(tsquery, tsquery, timestamptz, uuid, integer)",
)
# The schema of temporary objects comes last: an object there cannot take the place of one of the service.
SEARCH_PATH = "pg_catalog, public, pg_temp"


def upgrade() -> None:
    statements = [ROLES, "GRANT CREATE ON SCHEMA public TO unbroken_definer"]
    for function in EARLIER:
        statements += _close(function)
    for functions, role in ((FOR_THE_SERVICE, "unbroken_app"), (FOR_OPERATORS, "unbroken_operator")):
        for signature, rest in functions.items():
            name = _name(signature)
            statements += [
                f"CREATE FUNCTION {signature} {rest}",
                f"ALTER FUNCTION {name} SECURITY DEFINER; REVOKE ALL ON FUNCTION {name} FROM PUBLIC;",
                f"GRANT EXECUTE ON FUNCTION {name} TO {role}, unbroken_system",
                *_close(name),
            ]
    statements.append("REVOKE CREATE ON SCHEMA public FROM unbroken_definer")
    # The locks of the tables are held from here to the commit, so they are taken last.
    quickly(*statements, *(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in TABLES))


def _close(function: str) -> list[str]:
    """Statements that close a function: it sees all rows by the policy of unbroken_system, which its owner inherits."""
    return [
        f"ALTER FUNCTION {function} SET search_path = {SEARCH_PATH}",
        f"ALTER FUNCTION {function} OWNER TO unbroken_definer",
    ]


def _name(signature: str) -> str:
    """A function's name without its arguments: none of these names has a second one."""
    return signature.partition("(")[0]


def downgrade() -> None:
    """The owner becomes the owner of the earlier functions again by making them anew."""
    statements = [f"DROP FUNCTION {_name(signature)}" for signature in (*FOR_THE_SERVICE, *FOR_OPERATORS)]
    for function in EARLIER:
        statements.append(f"""
            DO $do$
            DECLARE
                made text := pg_get_functiondef('{function}'::regprocedure);
                granted text := (SELECT string_agg(DISTINCT CAST(grantee AS regrole)::text, ', ')
                    FROM pg_proc, aclexplode(proacl) WHERE oid = '{function}'::regprocedure AND grantee <> proowner);
            BEGIN
                DROP FUNCTION {function};
                EXECUTE made;
                ALTER FUNCTION {function} SET search_path = public;
                REVOKE ALL ON FUNCTION {function} FROM PUBLIC;
                EXECUTE 'GRANT EXECUTE ON FUNCTION {function} TO unbroken_system, ' || granted;
            END $do$
        """)
    statements += [f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY" for table in TABLES]
    statements.append("""
        REVOKE INSERT, UPDATE ON usage_days FROM unbroken_app;
        REVOKE SELECT ON alembic_version FROM unbroken_app, unbroken_operator, unbroken_system;
        REVOKE ALL ON models, model_versions, workers FROM unbroken_operator;
        REVOKE ALL ON SCHEMA public FROM unbroken_operator, unbroken_definer;
    """)
    quickly(*statements)
