"""The first messages of a user need no entries in the index of words: so few are looked through."""

from migrations.online import online, quickly, replace_index

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# indexed is set when a message is added, and never changes. Messages without an entry are searched month by month like
# the others: the entry decides the duration of a search and not its result.
LOOKED_THROUGH = "INDEX {name} ON messages (user_id, created_at DESC, id DESC) WHERE NOT indexed"

# The function of 0005 with early: the messages without an entry in the index.
SEARCH = """
CREATE OR REPLACE FUNCTION search_mine(
    query tsquery, begun tsquery, before timestamptz, before_id uuid, most integer
)
RETURNS TABLE (conversation_id uuid, message_id uuid, at timestamptz)
LANGUAGE plpgsql STABLE ROWS 50 SECURITY DEFINER SET search_path = public SET enable_seqscan = off
SET enable_sort = off AS $$
#variable_conflict use_column
DECLARE
    me CONSTANT uuid := nullif(current_setting('app.user_id', true), '')::uuid;
    mine CONSTANT text := '''=' || CAST(me AS text);
    found integer;
    added integer;
    months integer := 1;
    since timestamptz;
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
        since := (date_trunc('month', last_at AT TIME ZONE 'UTC') - make_interval(months => months - 1))
            AT TIME ZONE 'UTC';
        RETURN QUERY
            WITH hits AS MATERIALIZED (
                SELECT m.conversation_id, m.id, m.created_at FROM messages m
                WHERE <indexed> m.search @@ ((
                    SELECT CAST(string_agg(mine || '/' || month_of(last_at) - back || '''', ' | ') AS tsquery)
                    FROM generate_series(0, months - 1) back
                ) && query)
            ) <early>
            SELECT h.conversation_id, h.id, h.created_at FROM <hits> h WHERE (h.created_at, h.id) < (last_at, last_id)
            ORDER BY h.created_at DESC, h.id DESC LIMIT most - found;
        GET DIAGNOSTICS added = ROW_COUNT;
        found := found + added;
        EXIT WHEN found >= most;
        SELECT max(m.created_at), 'ffffffff-ffff-ffff-ffff-ffffffffffff' INTO last_at, last_id FROM messages m
        WHERE m.user_id = me AND m.created_at < since;
        months := months * 2;
    END LOOP;
END $$;
"""
EARLY = """, early AS MATERIALIZED (
                SELECT m.conversation_id, m.id, m.created_at FROM messages m
                WHERE m.user_id = me AND NOT m.indexed AND m.created_at >= since
                    AND (m.created_at, m.id) < (last_at, last_id) AND m.search @@ query
            )"""


def upgrade() -> None:
    with online() as steps:
        steps.change("ALTER TABLE messages ADD COLUMN IF NOT EXISTS indexed boolean NOT NULL DEFAULT true")
        steps.index("messages_search_next", "INDEX {name} ON messages USING gin (search) WHERE indexed")
        steps.index("messages_looked_through", LOOKED_THROUGH)
    # The index and the function that reads it change together: neither finds anything without the other.
    search = _search("m.indexed AND", EARLY, "(TABLE hits UNION ALL TABLE early)")
    quickly(replace_index("messages_search"), search)


def downgrade() -> None:
    with online() as steps:
        steps.index("messages_search_next", "INDEX {name} ON messages USING gin (search)")
    quickly(
        replace_index("messages_search"),
        "DROP INDEX messages_looked_through; ALTER TABLE messages DROP COLUMN indexed",
        _search("", "", "hits"),
    )


def _search(indexed: str, early: str, hits: str) -> str:
    return SEARCH.replace("<indexed>", indexed).replace("<early>", early).replace("<hits>", hits)
