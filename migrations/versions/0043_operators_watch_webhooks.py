"""Operators see deliveries to webhooks, without their bodies."""

from migrations.definer import create_definers, drop_functions
from migrations.online import online, quickly

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

INDEX = "INDEX {name} ON webhook_deliveries (id) WHERE state = 'waiting'"
WATCHED = """watched_webhook_deliveries(wanted uuid, wanted_state text, wanted_user text, wanted_endpoint uuid,
    before uuid, most integer)"""
FOR_OPERATORS = {
    # A plan for each call: most filters are not given, and an index serves those that are.
    WATCHED: """
        RETURNS TABLE (id uuid, user_id uuid, subject text, event_id text, event_type text, endpoint_id uuid, url text,
            generation_id uuid, request_id text, is_test boolean, state text, reason text, attempt_count integer,
            last_attempt_at timestamptz, last_status integer, last_error text, next_attempt_at timestamptz,
            created_at timestamptz, finished_at timestamptz)
        LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
        #variable_conflict use_column
        DECLARE
            owner uuid := CASE WHEN wanted_user IS NOT NULL THEN coalesce(
                (SELECT u.id FROM users u WHERE u.subject = wanted_user),
                (SELECT u.id FROM users u WHERE CAST(u.id AS text) = lower(wanted_user)),
                '00000000-0000-0000-0000-000000000000') END;
        BEGIN
            RETURN QUERY SELECT d.id, d.user_id, u.subject, d.event_id, d.event_type, d.endpoint_id,
                substring(d.url FROM '^[a-z]+://[^/?#]*'), d.generation_id, d.request_id, d.is_test, d.state, d.reason,
                d.attempts, a.at, a.status, a.error, CASE WHEN d.state = 'waiting' THEN d.next_attempt_at END,
                d.created_at, d.finished_at
            FROM webhook_deliveries d JOIN users u ON u.id = d.user_id
                LEFT JOIN LATERAL (SELECT w.at, w.status, w.error FROM webhook_attempts w
                    WHERE w.delivery_id = d.id ORDER BY w.n DESC LIMIT 1) a ON true
            WHERE (wanted IS NULL OR d.id = wanted)
                AND (wanted_state IS NULL OR d.state = wanted_state)
                AND (owner IS NULL OR d.user_id = owner)
                AND (wanted_endpoint IS NULL OR d.endpoint_id = wanted_endpoint)
                AND (before IS NULL OR d.id < before)
            ORDER BY d.id DESC LIMIT most;
        END $$""",
}


def upgrade() -> None:
    with online() as steps:
        steps.index("webhook_deliveries_waiting", INDEX)
    quickly(*create_definers(FOR_OPERATORS, "unbroken_operator"))


def downgrade() -> None:
    quickly(*drop_functions(FOR_OPERATORS), "DROP INDEX webhook_deliveries_waiting")
