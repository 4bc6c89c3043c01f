"""A search reads the index of words month by month and ends with the month that completes its page."""

from importlib import import_module

from migrations.definer import SEARCH_PATH
from migrations.online import quickly

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None

# The function of 0009 with a query of the index for each month. PostgreSQL evaluates a query for each message of its
# months, and all names of months with it: 32 months in one query took 38 ms, and each alone 0.2 ms. The rows of the
# series are read in their order, and LIMIT reads no further month when it has enough rows.
SEARCH = f"""
CREATE OR REPLACE FUNCTION search_mine(
    query tsquery, begun tsquery, before timestamptz, before_id uuid, most integer
)
RETURNS TABLE (conversation_id uuid, message_id uuid, at timestamptz)
LANGUAGE plpgsql STABLE ROWS 50 SECURITY DEFINER SET search_path = {SEARCH_PATH} SET enable_seqscan = off
SET enable_sort = off AS $$
#variable_conflict use_column
DECLARE
    me CONSTANT uuid := nullif(current_setting('app.user_id', true), '')::uuid;
    mine CONSTANT text := '''=' || CAST(me AS text);
    found integer;
    added integer;
    months integer := 1;
    newest_month timestamp;
    last_at timestamptz;
    last_id uuid;
BEGIN
    IF me IS NULL OR numnode(query) = 0 THEN
        RETURN;
    END IF;
    RETURN QUERY
        WITH hits AS MATERIALIZED (
            SELECT c.id, c.last_message_at FROM conversations c
            WHERE c.title IS NOT NULL AND c.search @@ (CAST(mine || '''' AS tsquery) && begun)
        )
        SELECT h.id, NULL::uuid, h.last_message_at FROM hits h WHERE (h.last_message_at, h.id) < (before, before_id)
        ORDER BY h.last_message_at DESC, h.id DESC LIMIT most;
    RETURN QUERY
        WITH newest AS MATERIALIZED (
            SELECT m.conversation_id, m.id, m.created_at, m.search FROM messages m
            WHERE m.user_id = me AND (m.created_at, m.id) < (before, before_id)
            ORDER BY m.created_at DESC, m.id DESC LIMIT 1000
        )
        SELECT n.conversation_id, n.id, n.created_at FROM newest n WHERE n.search @@ begun
        ORDER BY n.created_at DESC, n.id DESC LIMIT most;
    GET DIAGNOSTICS found = ROW_COUNT;
    IF found < most THEN
        SELECT m.created_at, m.id INTO last_at, last_id FROM messages m
        WHERE m.user_id = me AND (m.created_at, m.id) < (before, before_id)
        ORDER BY m.created_at DESC, m.id DESC OFFSET 999 LIMIT 1;
    END IF;
    WHILE last_at IS NOT NULL LOOP
        newest_month := date_trunc('month', last_at AT TIME ZONE 'UTC');
        RETURN QUERY
            SELECT o.conversation_id, o.id, o.created_at
            FROM generate_series(0, months - 1) back CROSS JOIN LATERAL (
                WITH hits AS MATERIALIZED (
                    SELECT m.conversation_id, m.id, m.created_at FROM messages m
                    WHERE m.indexed
                        AND m.search @@ (CAST(mine || '/' || month_of(last_at) - back || '''' AS tsquery) && query)
                ), early AS MATERIALIZED (
                    SELECT m.conversation_id, m.id, m.created_at FROM messages m
                    WHERE m.user_id = me AND NOT m.indexed
                        AND m.created_at >= (newest_month - make_interval(months => back)) AT TIME ZONE 'UTC'
                        AND m.created_at < (newest_month - make_interval(months => back - 1)) AT TIME ZONE 'UTC'
                        AND (m.created_at, m.id) < (last_at, last_id) AND m.search @@ query
                )
                SELECT h.conversation_id, h.id, h.created_at FROM (TABLE hits UNION ALL TABLE early) h
                WHERE (h.created_at, h.id) < (last_at, last_id)
                ORDER BY h.created_at DESC, h.id DESC LIMIT most - found
            ) o LIMIT most - found;
        GET DIAGNOSTICS added = ROW_COUNT;
        found := found + added;
        EXIT WHEN found >= most;
        SELECT max(m.created_at), 'ffffffff-ffff-ffff-ffff-ffffffffffff' INTO last_at, last_id FROM messages m
        WHERE m.user_id = me
            AND m.created_at < (newest_month - make_interval(months => months - 1)) AT TIME ZONE 'UTC';
        months := months * 2;
    END LOOP;
END $$;
"""


def upgrade() -> None:
    quickly(SEARCH)


def downgrade() -> None:
    earlier = import_module("migrations.versions.0009_few_words_are_indexed")
    parts = {"<indexed>": "m.indexed AND", "<early>": earlier.EARLY, "<hits>": "(TABLE hits UNION ALL TABLE early)"}
    search: str = earlier.SEARCH
    for name, part in parts.items():
        search = search.replace(name, part)
    quickly(search, f"ALTER FUNCTION search_mine SET search_path = {SEARCH_PATH}")
