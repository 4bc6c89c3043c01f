"""The audit: actions on access and on other people's objects. The service can add rows and cannot change them."""

from migrations.definer import create_definers, drop_functions
from migrations.online import quickly

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

# ``user_id`` is the user whose part of the audit a row is: the one acted on, or else the one who acts. The rows outlive
# users, so neither id is a foreign key.
TABLE = """
CREATE TABLE audit (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    user_id uuid,
    actor_id uuid,
    credential_kind text,
    credential_id text NOT NULL DEFAULT '',
    address text,
    request_id text,
    action text NOT NULL,
    object_kind text NOT NULL,
    object_id text NOT NULL DEFAULT '',
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_of_user ON audit (user_id, id);
CREATE INDEX audit_of_actor ON audit (actor_id, id);
CREATE INDEX audit_of_object ON audit (object_id, id);
CREATE INDEX audit_at ON audit (at);
ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON audit TO unbroken_app
    USING (user_id = NULLIF(current_setting('app.user_id', true), '')::uuid);
CREATE POLICY every_row ON audit TO unbroken_system USING (true) WITH CHECK (true);
GRANT SELECT ON audit TO unbroken_app;
GRANT SELECT, INSERT, DELETE ON audit TO unbroken_definer;
"""
FOR_ALL = {
    """record_audit(row_id uuid, row_user uuid, row_actor uuid, row_kind text, row_credential text, row_address text,
        row_request text, row_action text, row_object_kind text, row_object text, row_details jsonb)""": """
        RETURNS void LANGUAGE sql VOLATILE AS $$
        INSERT INTO audit (id, user_id, actor_id, credential_kind, credential_id, address, request_id, action,
            object_kind, object_id, details)
        VALUES (row_id, row_user, row_actor, row_kind, row_credential, row_address, row_request, row_action,
            row_object_kind, row_object, row_details) $$""",
}
FOR_OPERATORS = {
    # A plan for each call: most filters are not given, and an index serves those that are.
    """audit_page(wanted_user uuid, wanted_actor uuid, wanted_action text, wanted_object text, since timestamptz,
        until timestamptz, before uuid, most integer)""": """
        RETURNS SETOF audit LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
        BEGIN
            RETURN QUERY SELECT a.* FROM audit a
                WHERE (wanted_user IS NULL OR a.user_id = wanted_user)
                    AND (wanted_actor IS NULL OR a.actor_id = wanted_actor)
                    AND (wanted_action IS NULL OR a.action = wanted_action)
                    AND (wanted_object IS NULL OR a.object_id = wanted_object)
                    AND (since IS NULL OR a.at >= since) AND (until IS NULL OR a.at < until)
                    AND (before IS NULL OR a.id < before)
                ORDER BY a.id DESC LIMIT most;
        END $$""",
}
FOR_WORKERS = {
    # Rows of the last day stay, whatever is asked for.
    "prune_audit(kept_days float8, most integer)": """
        RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            removed integer;
        BEGIN
            DELETE FROM audit WHERE id IN (
                SELECT a.id FROM audit a WHERE a.at < now() - make_interval(secs => 86400 * greatest(kept_days, 1))
                ORDER BY a.at LIMIT most);
            GET DIAGNOSTICS removed = ROW_COUNT;
            RETURN removed;
        END $$""",
}


def upgrade() -> None:
    quickly(
        TABLE,
        *create_definers(FOR_ALL, "unbroken_app", "unbroken_operator", "unbroken_system"),
        *create_definers(FOR_OPERATORS, "unbroken_operator"),
        *create_definers(FOR_WORKERS, "unbroken_system"),
    )


def downgrade() -> None:
    quickly(*drop_functions((*FOR_ALL, *FOR_OPERATORS, *FOR_WORKERS)), "DROP TABLE audit")
