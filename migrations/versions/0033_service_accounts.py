"""Service accounts; the users as operators see them; and columns that the application must not change."""

from migrations.definer import create_definers, drop_functions
from migrations.online import online, quickly

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

# A service account is a user with keys that administrators make. Nobody signs in as one: account_of knows persons only.
COLUMNS = """
ALTER TABLE users ADD COLUMN kind text NOT NULL DEFAULT 'person', ADD COLUMN name text,
    ADD COLUMN ended_at timestamptz;
"""
# Rows of users are added and changed by functions. The columns that a user's own transaction changes are granted alone.
GRANTS = "REVOKE INSERT, UPDATE ON users FROM unbroken_app; GRANT UPDATE (tokens_from) ON users TO unbroken_app;"
EARLIER_GRANTS = (
    "REVOKE UPDATE (tokens_from) ON users FROM unbroken_app; GRANT INSERT, UPDATE ON users TO unbroken_app;"
)

EARLIER = {
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
}
FOR_THE_SERVICE = {
    # NULL for the subject of a service account.
    "account_of(wanted text, fresh uuid)": """
        RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            found users := (SELECT u FROM users u WHERE u.subject = wanted);
        BEGIN
            IF found.id IS NULL THEN
                INSERT INTO users (id, subject) VALUES (fresh, wanted) ON CONFLICT (subject) DO NOTHING;
                found := (SELECT u FROM users u WHERE u.subject = wanted);
            END IF;
            RETURN CASE WHEN found.kind = 'person' THEN found.id END;
        END $$""",
}
_ACCOUNT = "id uuid, name text, subject text, created_at timestamptz, keys bigint"
_KEYS = """(SELECT count(*) FROM api_keys k WHERE k.user_id = u.id AND k.ended_at IS NULL
    AND (k.expires_at IS NULL OR k.expires_at > now()))"""
_STATE = """CASE WHEN u.erasing_at IS NOT NULL THEN 'erasing' WHEN u.ended_at IS NOT NULL THEN 'ended'
    WHEN u.blocked_at IS NOT NULL THEN 'blocked' ELSE 'active' END"""
FOR_OPERATORS = {
    # NULL when there are as many as there may be. The lock makes two requests count one after the other.
    "add_service_account(fresh uuid, wanted_name text, most integer)": """
        RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock(hashtextextended('service accounts', 0));
            IF (SELECT count(*) FROM users WHERE kind = 'service' AND ended_at IS NULL) >= most THEN
                RETURN NULL;
            END IF;
            INSERT INTO users (id, subject, kind, name)
            VALUES (fresh, 'service:' || CAST(fresh AS text), 'service', wanted_name);
            RETURN fresh;
        END $$""",
    "service_accounts(wanted uuid, before uuid, most integer)": f"""
        RETURNS TABLE ({_ACCOUNT}) LANGUAGE sql STABLE AS $$
        SELECT u.id, u.name, u.subject, u.created_at, {_KEYS} FROM users u
        WHERE u.kind = 'service' AND u.ended_at IS NULL AND (wanted IS NULL OR u.id = wanted)
            AND (before IS NULL OR u.id < before)
        ORDER BY u.id DESC LIMIT most $$""",
    # Its keys end with it, and the block refuses what is looked up elsewhere.
    "end_service_account(wanted uuid)": """
        RETURNS boolean LANGUAGE sql VOLATILE AS $$
        WITH ended AS (
            UPDATE users SET ended_at = now(), blocked_at = coalesce(blocked_at, now())
            WHERE id = wanted AND kind = 'service' AND ended_at IS NULL RETURNING id
        ), keys AS (
            UPDATE api_keys k SET ended_at = now() FROM ended e WHERE k.user_id = e.id AND k.ended_at IS NULL
        )
        SELECT EXISTS (SELECT FROM ended) $$""",
    # A plan for each call: an index serves the filter that is given.
    "watched_users(wanted uuid, subject_prefix text, before uuid, most integer)": f"""
        RETURNS TABLE (id uuid, subject text, kind text, name text, state text, created_at timestamptz,
            blocked_at timestamptz, keys bigint)
        LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
        #variable_conflict use_column
        BEGIN
            RETURN QUERY SELECT u.id, u.subject, u.kind, u.name, {_STATE}, u.created_at, u.blocked_at, {_KEYS}
                FROM users u
                WHERE (wanted IS NULL OR u.id = wanted) AND (before IS NULL OR u.id < before)
                    AND (subject_prefix IS NULL OR u.subject LIKE subject_prefix)
                ORDER BY u.id DESC LIMIT most;
        END $$""",
    "figures_of_user(wanted uuid)": """
        RETURNS TABLE (conversations bigint, sessions bigint, queued bigint, running bigint, input_today bigint,
            output_today bigint, input_month bigint, output_month bigint) LANGUAGE sql STABLE AS $$
        SELECT (SELECT count(*) FROM conversations c WHERE c.user_id = wanted),
            (SELECT count(*) FROM sessions s WHERE s.user_id = wanted), g.queued, g.running,
            d.input_today, d.output_today, d.input_month, d.output_month
        FROM (
            SELECT count(*) FILTER (WHERE status = 'queued') AS queued,
                count(*) FILTER (WHERE status = 'running') AS running
            FROM generations WHERE user_id = wanted AND status IN ('queued', 'running')
        ) g, (
            SELECT CAST(coalesce(sum(input_tokens) FILTER (WHERE day = t.today), 0) AS bigint) AS input_today,
                CAST(coalesce(sum(output_tokens) FILTER (WHERE day = t.today), 0) AS bigint) AS output_today,
                CAST(coalesce(sum(input_tokens), 0) AS bigint) AS input_month,
                CAST(coalesce(sum(output_tokens), 0) AS bigint) AS output_month
            FROM (SELECT CAST(now() AT TIME ZONE 'UTC' AS date) AS today) t LEFT JOIN usage_days u
                ON u.user_id = wanted AND u.day >= date_trunc('month', t.today) AND u.day <= t.today
        ) d $$""",
}
BY_SUBJECT = "INDEX {name} ON users (subject text_pattern_ops)"


def upgrade() -> None:
    with online() as steps:
        steps.index("users_subject_prefix", BY_SUBJECT)
    quickly(
        COLUMNS,
        GRANTS,
        *drop_functions(EARLIER),
        *create_definers(FOR_THE_SERVICE, "unbroken_app", "unbroken_system"),
        *create_definers(FOR_OPERATORS, "unbroken_operator"),
    )


def downgrade() -> None:
    quickly(
        *drop_functions((*FOR_THE_SERVICE, *FOR_OPERATORS)),
        *create_definers(EARLIER, "unbroken_app", "unbroken_system"),
        EARLIER_GRANTS,
        "DROP INDEX users_subject_prefix",
        "ALTER TABLE users DROP COLUMN kind, DROP COLUMN name, DROP COLUMN ended_at",
    )
