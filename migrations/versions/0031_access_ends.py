"""Users can be blocked, tokens can be ended, and tickets end with what they were issued for."""

from migrations.definer import create_definers, drop_functions
from migrations.online import quickly

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

# Tokens of a user that were issued before tokens_from are refused. A user whose erasure has begun is as one who is
# blocked. An ended token is known by its digest until it expires; no reader of the table can make the token of it.
TABLES = """
ALTER TABLE users ADD COLUMN blocked_at timestamptz, ADD COLUMN erasing_at timestamptz,
    ADD COLUMN tokens_from timestamptz;
CREATE TABLE ended_tokens (
    digest bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    expires_at timestamptz NOT NULL
);
CREATE INDEX ended_tokens_expires_at ON ended_tokens (expires_at);
GRANT INSERT ON ended_tokens TO unbroken_app, unbroken_system;
GRANT SELECT, DELETE ON ended_tokens TO unbroken_system;
"""

STATE = """CASE WHEN u.erasing_at IS NOT NULL THEN 'erasing' WHEN u.blocked_at IS NOT NULL THEN 'blocked'
    ELSE 'active' END"""
FOR_THE_SERVICE = {
    # Older code calls account_of.
    "access_of(wanted text, fresh uuid, wanted_token bytea)": f"""
        RETURNS TABLE (id uuid, state text, tokens_from float8, token_ended boolean) LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            found uuid := account_of(wanted, fresh);
        BEGIN
            RETURN QUERY SELECT u.id, {STATE}, CAST(extract(epoch FROM u.tokens_from) AS float8),
                EXISTS (SELECT FROM ended_tokens e WHERE e.digest = wanted_token)
            FROM users u WHERE u.id = found;
        END $$""",
    "state_of_user(wanted uuid)": f"""
        RETURNS text LANGUAGE sql STABLE AS $$ SELECT {STATE} FROM users u WHERE u.id = wanted $$""",
}
FOR_OPERATORS = {
    "block_user(wanted uuid)": """
        RETURNS boolean LANGUAGE sql VOLATILE AS $$
        UPDATE users SET blocked_at = coalesce(blocked_at, now()) WHERE id = wanted RETURNING true $$""",
    "unblock_user(wanted uuid)": """
        RETURNS boolean LANGUAGE sql VOLATILE AS $$
        UPDATE users SET blocked_at = NULL WHERE id = wanted RETURNING true $$""",
}

USE_TICKET = "use_ticket(wanted bytea, wanted_object text, open_seconds float8, reopen_seconds float8)"
_TICKET = """
        RETURNS TABLE (user_id uuid, subject text, token_expires_at timestamptz, credential_kind text,
            credential_id text, limits jsonb) LANGUAGE sql VOLATILE AS $$
        UPDATE stream_tickets t SET opened_at = coalesce(t.opened_at, now())
        FROM stream_tickets f JOIN users u ON u.id = f.user_id
            LEFT JOIN api_keys k ON f.credential_kind = 'key' AND CAST(k.id AS text) = f.credential_id
                AND k.ended_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
        WHERE f.digest = wanted AND t.digest = f.digest
            AND CAST(t.object AS text) = coalesce(lower(wanted_object), CAST(t.user_id AS text))
            AND (f.credential_kind IS DISTINCT FROM 'key' OR k.id IS NOT NULL){more}
            AND t.token_expires_at > now()
            AND t.created_at > now() - make_interval(
                secs => CASE WHEN t.opened_at IS NULL THEN open_seconds ELSE reopen_seconds END)
        RETURNING t.user_id, u.subject, t.token_expires_at, t.credential_kind, t.credential_id, k.limits $$"""
# A revocation is kept for longer than a ticket lives. A ticket may have been issued after its user's tokens were
# ended and before that was committed and known everywhere: that takes less than two seconds.
_NOT_REVOKED = """
            AND u.blocked_at IS NULL AND u.erasing_at IS NULL
            AND (coalesce(f.credential_kind, 'token') <> 'token' OR u.tokens_from IS NULL
                OR f.created_at > u.tokens_from + interval '2 seconds')
            AND NOT EXISTS (SELECT FROM revocations r WHERE r.name = f.credential_kind || ' ' || f.credential_id)"""


def upgrade() -> None:
    quickly(
        TABLES,
        *drop_functions([USE_TICKET]),
        *create_definers(
            {**FOR_THE_SERVICE, USE_TICKET: _TICKET.replace("{more}", _NOT_REVOKED)}, "unbroken_app", "unbroken_system"
        ),
        *create_definers(FOR_OPERATORS, "unbroken_operator", "unbroken_system"),
    )


def downgrade() -> None:
    quickly(
        *drop_functions([USE_TICKET, *FOR_THE_SERVICE, *FOR_OPERATORS]),
        *create_definers({USE_TICKET: _TICKET.replace("{more}", "")}, "unbroken_app", "unbroken_system"),
        "DROP TABLE ended_tokens",
        "ALTER TABLE users DROP COLUMN blocked_at, DROP COLUMN erasing_at, DROP COLUMN tokens_from",
    )
