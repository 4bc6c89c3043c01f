"""API keys, and tickets that end with the credential they were issued for."""

from migrations.definer import create_definers, drop_functions
from migrations.online import quickly

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

# Only the digest of a key's secret is stored. ``role`` is the role of the user who gave the key the scope admin. A key
# that replaces another names it; ended keys stay for a while, so that their owner sees when they ended.
TABLE = """
CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    hint text NOT NULL,
    role text,
    scopes text[] NOT NULL CHECK (scopes <@ ARRAY['admin', 'generate', 'read'] AND cardinality(scopes) > 0),
    models text[],
    limits jsonb NOT NULL DEFAULT '{}',
    replaces uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    ended_at timestamptz
);
CREATE INDEX api_keys_of_user ON api_keys (user_id, id);
CREATE INDEX api_keys_expiring ON api_keys (expires_at) WHERE ended_at IS NULL AND expires_at IS NOT NULL;
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON api_keys TO unbroken_app
    USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
CREATE POLICY every_row ON api_keys TO unbroken_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, DELETE, UPDATE (name, limits, expires_at, last_used_at, ended_at) ON api_keys TO unbroken_app;
GRANT SELECT, UPDATE, DELETE ON api_keys TO unbroken_system;
"""
CREDENTIALS = "ALTER TABLE stream_tickets ADD COLUMN credential_kind text, ADD COLUMN credential_id text"

USE_TICKET = "use_ticket(wanted bytea, wanted_object text, open_seconds float8, reopen_seconds float8)"
EARLIER = {
    USE_TICKET: """
        RETURNS TABLE (user_id uuid, subject text, token_expires_at timestamptz) LANGUAGE sql VOLATILE AS $$
        UPDATE stream_tickets t SET opened_at = coalesce(t.opened_at, now()) FROM users u
        WHERE t.digest = wanted
            AND CAST(t.object AS text) = coalesce(lower(wanted_object), CAST(t.user_id AS text)) AND u.id = t.user_id
            AND t.token_expires_at > now()
            AND t.created_at > now() - make_interval(
                secs => CASE WHEN t.opened_at IS NULL THEN open_seconds ELSE reopen_seconds END)
        RETURNING t.user_id, u.subject, t.token_expires_at $$""",
}
FOR_THE_SERVICE = {
    # A key is found by its id, which is no secret. The caller compares the digests.
    "find_api_key(wanted uuid)": """
        RETURNS TABLE (id uuid, user_id uuid, subject text, digest bytea, role text, scopes text[], models text[],
            limits jsonb, expires_at timestamptz, is_valid boolean, is_use_noted boolean) LANGUAGE sql STABLE AS $$
        SELECT k.id, k.user_id, u.subject, k.digest, k.role, k.scopes, k.models, k.limits, k.expires_at,
            k.ended_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()),
            coalesce(k.last_used_at > now() - interval '1 minute', false)
        FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.id = wanted $$""",
    # A ticket that was issued for a key ends with it, and has its limits.
    USE_TICKET: """
        RETURNS TABLE (user_id uuid, subject text, token_expires_at timestamptz, credential_kind text,
            credential_id text, limits jsonb) LANGUAGE sql VOLATILE AS $$
        UPDATE stream_tickets t SET opened_at = coalesce(t.opened_at, now())
        FROM stream_tickets f JOIN users u ON u.id = f.user_id
            LEFT JOIN api_keys k ON f.credential_kind = 'key' AND CAST(k.id AS text) = f.credential_id
                AND k.ended_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
        WHERE f.digest = wanted AND t.digest = f.digest
            AND CAST(t.object AS text) = coalesce(lower(wanted_object), CAST(t.user_id AS text))
            AND (f.credential_kind IS DISTINCT FROM 'key' OR k.id IS NOT NULL)
            AND t.token_expires_at > now()
            AND t.created_at > now() - make_interval(
                secs => CASE WHEN t.opened_at IS NULL THEN open_seconds ELSE reopen_seconds END)
        RETURNING t.user_id, u.subject, t.token_expires_at, t.credential_kind, t.credential_id, k.limits $$""",
}


def upgrade() -> None:
    quickly(
        TABLE,
        CREDENTIALS,
        *drop_functions(EARLIER),
        *create_definers(FOR_THE_SERVICE, "unbroken_app", "unbroken_system"),
    )


def downgrade() -> None:
    quickly(
        *drop_functions(FOR_THE_SERVICE),
        *create_definers(EARLIER, "unbroken_app", "unbroken_system"),
        "ALTER TABLE stream_tickets DROP COLUMN credential_kind, DROP COLUMN credential_id",
        "DROP TABLE api_keys",
    )
