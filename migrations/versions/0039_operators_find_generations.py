"""Operators find ended generations by user, model, worker, failure and request; a row notes the moments of its life."""

from migrations.definer import create_definers, drop_functions
from migrations.online import online, quickly

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

ENDED = "status IN ('completed', 'error', 'cancelled')"
# Only ended generations are in them: an insert and a claim write none of them, and none has a column that changes
# between claim and end. Queued and running ones are few, and generations_turns has them.
INDEXES = {
    "generations_ended_by_user": f"INDEX {{name}} ON generations (user_id, id) WHERE {ENDED}",
    "generations_ended_by_model": f"INDEX {{name}} ON generations (model, id) WHERE {ENDED}",
    "generations_ended_by_worker": f"INDEX {{name}} ON generations (worker, id) WHERE {ENDED}",
    "generations_ended_by_request": f"INDEX {{name}} ON generations (request_id, id) WHERE {ENDED}",
    "generations_failed": "INDEX {name} ON generations (status, id) WHERE status IN ('error', 'cancelled')",
    "generations_by_end": f"INDEX {{name}} ON generations (finished_at) WHERE {ENDED}",
}
# The ids of a page, and the id of the last row that was looked at; NULL when the page is full or no other row is left.
# One condition that an index serves leads; at most ``looks`` rows of it are looked at: every filter has a bounded time.
# The leading column also leads the order, and it is bound together with the id: no other index serves that. Otherwise
# the planner may choose the primary key, and walk through all newer rows to those of a model that is not used any more.
# The live rows are taken by their own index before they are filtered, for the same reason.
FIND = """
    find_generations(wanted_status text, wanted_stuck boolean, wanted_user text, wanted_model text, wanted_worker text,
        wanted_request text, since timestamptz, until timestamptz, first uuid, before uuid, stuck_seconds float8,
        looks integer, most integer, OUT ids uuid[], OUT looked_to uuid)"""
BODY = """
    RETURNS record LANGUAGE plpgsql STABLE
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
    DECLARE
        who uuid := coalesce(
            (SELECT u.id FROM users u WHERE u.id = CASE WHEN wanted_user ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){4}[0-9a-f]{8}$'
                THEN CAST(wanted_user AS uuid) END),
            (SELECT u.id FROM users u WHERE u.subject = wanted_user));
        bounds text := concat_ws(' AND ', 'true',
            CASE WHEN first IS NOT NULL THEN format('g.id >= %L', first) END,
            CASE WHEN before IS NOT NULL THEN format('g.id < %L', before) END);
        filters text := concat_ws(' AND ', 'true',
            CASE WHEN wanted_status IS NOT NULL THEN format('g.status = %L', wanted_status) END,
            CASE WHEN who IS NOT NULL THEN format('g.user_id = %L', who) END,
            CASE WHEN wanted_model IS NOT NULL THEN format('g.model = %L', wanted_model) END,
            CASE WHEN wanted_worker IS NOT NULL THEN format('g.worker = %L', wanted_worker) END,
            CASE WHEN wanted_request IS NOT NULL THEN format('g.request_id = %L', wanted_request) END,
            CASE WHEN since IS NOT NULL THEN format('g.created_at >= %L', since) END,
            CASE WHEN until IS NOT NULL THEN format('g.created_at < %L', until) END);
        led text := CASE
            WHEN wanted_request IS NOT NULL THEN 'request_id'
            WHEN who IS NOT NULL THEN 'user_id'
            WHEN wanted_status IN ('error', 'cancelled') THEN 'status'
            WHEN wanted_worker IS NOT NULL THEN 'worker'
            WHEN wanted_model IS NOT NULL THEN 'model' END;
        led_by text := CASE led
            WHEN 'request_id' THEN quote_literal(wanted_request)
            WHEN 'user_id' THEN format('CAST(%L AS uuid)', who)
            WHEN 'status' THEN quote_literal(wanted_status)
            WHEN 'worker' THEN quote_literal(wanted_worker)
            WHEN 'model' THEN quote_literal(wanted_model) END;
        led_bounds text := CASE WHEN led IS NULL THEN bounds ELSE format(
            '(g.%I, g.id) >= (%s, %L) AND (g.%I, g.id) < (%s, %L)%s',
            led, led_by, coalesce(first, '00000000-0000-0000-0000-000000000000'),
            led, led_by, coalesce(before, 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
            CASE led WHEN 'status' THEN ' AND g.status IN (''error'', ''cancelled'')' END) END;
        newest_first text := CASE WHEN led IS NULL THEN 'g.id DESC' ELSE format('g.%I DESC, g.id DESC', led) END;
        looked_at text := format('FROM generations g WHERE %s
            AND g.status IN (''completed'', ''error'', ''cancelled'') ORDER BY %s', led_bounds, newest_first);
        ended uuid[] := '{}';
        live uuid[] := '{}';
    BEGIN
        ids := '{}';
        IF wanted_user IS NOT NULL AND who IS NULL THEN
            RETURN;
        END IF;
        IF wanted_stuck IS NOT TRUE AND coalesce(wanted_status NOT IN ('queued', 'running'), true) THEN
            EXECUTE format('SELECT coalesce(array_agg(p.id), ''{}'') FROM (SELECT g.id FROM (SELECT g.* %s LIMIT %s) g
                WHERE %s ORDER BY %s LIMIT %s) p', looked_at, looks, filters, newest_first, most) INTO ended;
            IF cardinality(ended) < most THEN
                EXECUTE format('SELECT g.id %s OFFSET %s LIMIT 1', looked_at, looks - 1) INTO looked_to;
            END IF;
        END IF;
        IF coalesce(wanted_status IN ('queued', 'running'), true) THEN
            EXECUTE format('WITH g AS MATERIALIZED (
                    SELECT id, user_id, status, model, worker, request_id, created_at, lease_until, next_dispatch_at
                    FROM generations WHERE status IN (''queued'', ''running''))
                SELECT coalesce(array_agg(p.id), ''{}'') FROM (SELECT g.id FROM g
                WHERE %s AND %s AND ($1 IS NULL OR g.id >= $1) AND ($2 IS NULL OR $2 =
                    (g.status = ''running'' AND coalesce(g.lease_until, g.next_dispatch_at) < now()
                    OR g.status = ''queued'' AND g.created_at < now() - make_interval(secs => $3)))
                ORDER BY g.id DESC LIMIT %s) p', bounds, filters, most)
            INTO live USING looked_to, wanted_stuck, stuck_seconds;
        END IF;
        ids := ARRAY(SELECT p.id FROM unnest(ended || live) AS p(id) ORDER BY p.id DESC LIMIT most);
    END $$"""
# Older code calls watched_generations.
SEEN = """
    RETURNS TABLE (id uuid, user_id uuid, subject text, conversation_id uuid, message_id uuid, user_message_id uuid,
        model text, status text, epoch integer, tries integer, dispatches integer, worker text, lease_seconds float8,
        stuck boolean, parameters jsonb, attempts jsonb, moments jsonb, error jsonb, usage jsonb, cost numeric,
        currency text, finish_reason text, target text, request_id text, traceparent text, cancel_at timestamptz,
        created_at timestamptz, started_at timestamptz, first_token_at timestamptz, finished_at timestamptz,
        last_updated timestamptz)
    LANGUAGE sql STABLE AS $$
    SELECT g.id, g.user_id, u.subject, g.conversation_id, g.message_id, g.user_message_id, g.model, g.status, g.epoch,
        g.tries, g.dispatches, g.worker, CAST(extract(epoch FROM g.lease_until - now()) AS float8),
        g.status = 'running' AND coalesce(g.lease_until, g.next_dispatch_at) < now()
            OR g.status = 'queued' AND g.created_at < now() - make_interval(secs => stuck_seconds),
        g.parameters, g.attempts, g.moments, g.error, g.usage, g.cost, g.currency, g.finish_reason, g.target,
        g.request_id, g.traceparent, g.cancel_at, g.created_at, g.started_at, g.first_token_at, g.finished_at,
        g.last_updated
    FROM generations g JOIN users u ON u.id = g.user_id WHERE g.id = ANY(wanted) $$"""
# Of each epoch: the number of stored events, and the number of rows that hold them until the end.
SAVED = """
    RETURNS TABLE (epoch integer, events integer, saves integer) LANGUAGE sql STABLE AS $$
    SELECT c.epoch, CAST(max(c.last_n) + 1 AS integer), CAST(count(*) AS integer)
    FROM generation_chunks c WHERE c.generation_id = wanted GROUP BY c.epoch
    UNION ALL
    SELECT CAST(r.revision ->> 0 AS integer), CAST(r.revision ->> 1 AS integer), 1
    FROM generation_archives a, jsonb_array_elements(a.revisions) AS r(revision) WHERE a.generation_id = wanted
    ORDER BY 1 $$"""
FOR_OPERATORS = {
    FIND.strip(): BODY,
    "seen_generations(wanted uuid[], stuck_seconds float8)": SEEN,
    "saved_events(wanted uuid)": SAVED,
}


def upgrade() -> None:
    with online() as steps:
        for name, definition in INDEXES.items():
            steps.index(name, definition)
        # NULL in the row of an answer that one worker makes. It follows lease_until, so a renewal logs none of it.
        steps.change("ALTER TABLE generations ADD COLUMN IF NOT EXISTS moments jsonb")
    quickly(*create_definers(FOR_OPERATORS, "unbroken_operator", "unbroken_system"))


def downgrade() -> None:
    with online() as steps:
        for name in INDEXES:
            steps.drop_index(name)
    quickly(*drop_functions(FOR_OPERATORS), "ALTER TABLE generations DROP COLUMN moments")
