"""Sessions of browsers, and codes that begin one without an identity provider."""

from migrations.online import quickly

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

TABLES = """
-- The digest is that of the cookie's secret. seen_at is written at most once a minute.
CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    digest bytea NOT NULL UNIQUE,
    method text NOT NULL CHECK (method IN ('link', 'oidc')),
    role text,
    user_agent text NOT NULL DEFAULT '' CHECK (length(user_agent) <= 200),
    address text NOT NULL DEFAULT '' CHECK (length(address) <= 100),
    email text CHECK (length(email) <= 320),
    issuer text CHECK (length(issuer) <= 1000),
    sid text CHECK (length(sid) <= 1000),
    id_token text CHECK (length(id_token) <= 16384),
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_id, created_at);
CREATE INDEX sessions_of_provider ON sessions (issuer, sid) WHERE sid IS NOT NULL;
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO unbroken_app, unbroken_system;
CREATE POLICY own_rows ON sessions TO unbroken_app
    USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
CREATE POLICY every_row ON sessions TO unbroken_system USING (true) WITH CHECK (true);

-- Only the owner of the tables adds codes: no login of the running service can make one.
CREATE TABLE sign_in_codes (
    digest bytea PRIMARY KEY,
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    role text,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
GRANT SELECT, UPDATE, DELETE ON sign_in_codes TO unbroken_system;
"""

FUNCTIONS = {
    # A row that another request has locked is being written for the same purpose.
    "use_session(wanted bytea, at_time timestamptz, idle float8, longest float8, fresh float8)": """
        RETURNS TABLE (id uuid, user_id uuid, subject text, method text, role text, user_agent text, address text,
            email text, issuer text, sid text, id_token text, created_at timestamptz, seen_at timestamptz)
        LANGUAGE sql VOLATILE AS $$
        WITH found AS (
            SELECT s.*, u.subject FROM sessions s JOIN users u ON u.id = s.user_id
            WHERE s.digest = wanted AND s.seen_at > at_time - make_interval(secs => idle)
                AND s.created_at > at_time - make_interval(secs => longest)
        ), stale AS (
            SELECT s.id FROM sessions s WHERE s.id IN (SELECT f.id FROM found f)
                AND s.seen_at <= at_time - make_interval(secs => fresh)
            FOR NO KEY UPDATE SKIP LOCKED
        ), touched AS (
            UPDATE sessions s SET seen_at = at_time FROM stale WHERE s.id = stale.id
        )
        SELECT f.id, f.user_id, f.subject, f.method, f.role, f.user_agent, f.address, f.email, f.issuer, f.sid,
            f.id_token, f.created_at, CASE WHEN f.id IN (SELECT stale.id FROM stale) THEN at_time ELSE f.seen_at END
        FROM found f $$""",
    "touch_sessions(wanted uuid[], at_time timestamptz, idle float8, longest float8, fresh float8)": """
        RETURNS void LANGUAGE sql VOLATILE AS $$
        UPDATE sessions s SET seen_at = at_time FROM (
            SELECT t.id FROM sessions t WHERE t.id = ANY(wanted)
                AND t.seen_at > at_time - make_interval(secs => idle)
                AND t.seen_at <= at_time - make_interval(secs => fresh)
                AND t.created_at > at_time - make_interval(secs => longest)
            FOR NO KEY UPDATE SKIP LOCKED
        ) stale WHERE s.id = stale.id $$""",
    "owner_of_session(wanted_issuer text, wanted_sid text)": """
        RETURNS uuid LANGUAGE sql STABLE AS $$
        SELECT s.user_id FROM sessions s WHERE s.issuer = wanted_issuer AND s.sid = wanted_sid
        ORDER BY s.created_at DESC LIMIT 1 $$""",
    # Of two requests with one code, the second waits for the first, and finds the code used.
    "sign_in_code(wanted bytea, redeem boolean)": """
        RETURNS TABLE (state text, subject text, role text) LANGUAGE sql VOLATILE AS $$
        WITH redeemed AS (
            UPDATE sign_in_codes c SET used_at = now()
            WHERE redeem AND c.digest = wanted AND c.used_at IS NULL AND c.expires_at > now() RETURNING c.digest
        )
        SELECT CASE
                WHEN redeem AND EXISTS (SELECT FROM redeemed) THEN 'good'
                WHEN c.used_at IS NULL AND c.expires_at <= now() THEN 'expired'
                WHEN c.used_at IS NULL AND NOT redeem THEN 'good'
                ELSE 'used'
            END, c.subject, c.role
        FROM sign_in_codes c WHERE c.digest = wanted $$""",
}
SEARCH_PATH = "pg_catalog, public, pg_temp"


def upgrade() -> None:
    statements = [TABLES, "GRANT CREATE ON SCHEMA public TO unbroken_definer"]
    for signature, rest in FUNCTIONS.items():
        name = signature.partition("(")[0]
        statements += [
            f"CREATE FUNCTION {signature} {rest}",
            f"ALTER FUNCTION {name} SECURITY DEFINER SET search_path = {SEARCH_PATH}",
            f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC",
            f"GRANT EXECUTE ON FUNCTION {name} TO unbroken_app, unbroken_system",
            f"ALTER FUNCTION {name} OWNER TO unbroken_definer",
        ]
    quickly(*statements, "REVOKE CREATE ON SCHEMA public FROM unbroken_definer")


def downgrade() -> None:
    functions = ", ".join(signature.partition("(")[0] for signature in FUNCTIONS)
    quickly(f"DROP FUNCTION {functions}; DROP TABLE sessions, sign_in_codes")
