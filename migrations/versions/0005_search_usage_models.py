"""Search over messages and titles, tokens and cost by day, and the configuration of models."""

from alembic import op

from migrations.online import online, quickly, replace_index

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Words as they are written, in small letters: people write in more languages than a stemmer knows.
# The owner, and the owner with the month, are words too, so that one index finds the words of one user in one month.
# No parser makes a word with a "=" in it.
# Only the beginning of a very long text: a tsvector ends at a megabyte, and more words than these may not fit.
# A generated column would be made by writing the whole table anew under an exclusive lock. So triggers fill the
# columns of new rows, and batches those of the rows that are there.
COLUMNS = """
CREATE OR REPLACE FUNCTION month_of(at timestamptz) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    CAST(extract(year FROM at AT TIME ZONE 'UTC') * 12 + extract(month FROM at AT TIME ZONE 'UTC') AS integer);
CREATE OR REPLACE FUNCTION words_of_message(user_id uuid, created_at timestamptz, content text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    array_to_tsvector(ARRAY['=' || CAST(user_id AS text) || '/' || CAST(month_of(created_at) AS text)])
    || to_tsvector('simple'::regconfig, left(content, 100000));
CREATE OR REPLACE FUNCTION words_of_conversation(user_id uuid, title text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    array_to_tsvector(ARRAY['=' || CAST(user_id AS text)]) || to_tsvector('simple'::regconfig, coalesce(title, ''));
CREATE OR REPLACE FUNCTION keep_words_of_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search := words_of_message(NEW.user_id, NEW.created_at, NEW.content);
    RETURN NEW;
END $$;
CREATE OR REPLACE FUNCTION keep_words_of_conversation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search := words_of_conversation(NEW.user_id, NEW.title);
    RETURN NEW;
END $$;
"""
OF_MESSAGES = """
ALTER TABLE messages ADD COLUMN IF NOT EXISTS search tsvector;
CREATE OR REPLACE TRIGGER keep_words BEFORE INSERT OR UPDATE OF user_id, created_at, content ON messages
    FOR EACH ROW EXECUTE FUNCTION keep_words_of_message();
"""
OF_CONVERSATIONS = """
ALTER TABLE conversations ADD COLUMN IF NOT EXISTS search tsvector;
CREATE OR REPLACE TRIGGER keep_words BEFORE INSERT OR UPDATE OF user_id, title ON conversations
    FOR EACH ROW EXECUTE FUNCTION keep_words_of_conversation();
"""

SEARCH = """
-- Row-level security keeps the operator @@ out of every index: it is not leakproof. So the index is read as the owner
-- of the tables, in the name the transaction has, and gives ids only; who asks reads the rows under his own policies.
-- The newest thousand messages are looked through, which is quick for a word that is everywhere and for who has no
-- more; then the index is asked for a month, two, four, eight, so that few requests read all that was ever said.
-- Without sorting: how many messages a user has a prepared plan cannot know, and it would read and sort them all.
-- begun is the query with the beginning of a word in it: an index would collect what everybody wrote that begins so.
CREATE FUNCTION search_mine(query tsquery, begun tsquery, before timestamptz, before_id uuid, most integer)
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
        RETURN QUERY
            WITH hits AS MATERIALIZED (
                SELECT m.conversation_id, m.id, m.created_at FROM messages m
                WHERE m.search @@ ((
                    SELECT CAST(string_agg(mine || '/' || month_of(last_at) - back || '''', ' | ') AS tsquery)
                    FROM generate_series(0, months - 1) back
                ) && query)
            )
            SELECT h.conversation_id, h.id, h.created_at FROM hits h WHERE (h.created_at, h.id) < (last_at, last_id)
            ORDER BY h.created_at DESC, h.id DESC LIMIT most - found;
        GET DIAGNOSTICS added = ROW_COUNT;
        found := found + added;
        EXIT WHEN found >= most;
        SELECT max(m.created_at), 'ffffffff-ffff-ffff-ffff-ffffffffffff' INTO last_at, last_id FROM messages m
        WHERE m.user_id = me AND m.created_at < (
            date_trunc('month', last_at AT TIME ZONE 'UTC') - make_interval(months => months - 1)
        ) AT TIME ZONE 'UTC';
        months := months * 2;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION search_mine(tsquery, tsquery, timestamptz, uuid, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION search_mine(tsquery, tsquery, timestamptz, uuid, integer) TO unbroken_app;
"""

# Prices are per million tokens. A model that is not enabled accepts no generations, and keeps its name.
MODELS = """
ALTER TABLE models
    ADD COLUMN label text CHECK (length(label) BETWEEN 1 AND 200),
    ADD COLUMN description text CHECK (length(description) <= 2000),
    ADD COLUMN tools text[] NOT NULL DEFAULT '{}',
    ADD COLUMN input_price numeric(14, 6) CHECK (input_price >= 0),
    ADD COLUMN output_price numeric(14, 6) CHECK (output_price >= 0),
    ADD COLUMN currency text CHECK (currency ~ '^[A-Z]{3}$'),
    ADD CONSTRAINT models_price CHECK ((input_price IS NULL) = (currency IS NULL)
        AND (output_price IS NULL) = (currency IS NULL));
INSERT INTO models (name, provider, upstream_name, tools)
    VALUES ('offline-tools', 'offline', 'offline-tools', '{calculator,current_time,unit_convert,word_count}')
    ON CONFLICT DO NOTHING;
"""

# Tokens and cost of a user by day and model, added up in the transaction that ends a generation, at the price of that
# moment. A row outlives its conversations: their deletion gives no tokens back. Without a price, currency is ''.
USAGE = """
CREATE TABLE usage_days (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    day date NOT NULL,
    model text NOT NULL,
    currency text NOT NULL,
    generations bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cost numeric,
    PRIMARY KEY (user_id, day, model, currency)
) WITH (fillfactor = 50);
ALTER TABLE usage_days ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON usage_days TO unbroken_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON usage_days TO unbroken_system;
CREATE POLICY own_rows ON usage_days TO unbroken_app
    USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
CREATE POLICY every_row ON usage_days TO unbroken_system USING (true) WITH CHECK (true);
"""
BEFORE = """
INSERT INTO usage_days
    SELECT user_id, CAST(finished_at AT TIME ZONE 'UTC' AS date), model, '', count(*),
        coalesce(sum(CAST(usage->>'input_tokens' AS bigint)), 0),
        coalesce(sum(CAST(usage->>'output_tokens' AS bigint)), 0), NULL
    FROM generations WHERE finished_at IS NOT NULL GROUP BY 1, 2, 3;
"""


def upgrade() -> None:
    with online() as steps:
        steps.change(COLUMNS)
        steps.change(OF_MESSAGES)
        steps.change(OF_CONVERSATIONS)
        steps.fill("messages", "search = words_of_message(user_id, created_at, content)", "search IS NULL")
        steps.fill("conversations", "search = words_of_conversation(user_id, title)", "search IS NULL")
        steps.index("messages_search", "INDEX {name} ON messages USING gin (search)")
        steps.index("conversations_search", "INDEX {name} ON conversations USING gin (search) WHERE title IS NOT NULL")
        steps.index("messages_of_user_next", "INDEX {name} ON messages (user_id, created_at DESC, id DESC)")
        steps.change("""
            ALTER TABLE generations ADD COLUMN IF NOT EXISTS cost numeric, ADD COLUMN IF NOT EXISTS currency text
        """)
        steps.check("generations", "generations_cost_check", "cost >= 0")
        if not steps.exists("usage_days"):
            # One transaction, so that no day is there in part.
            steps.change(USAGE)
    op.execute(BEFORE)
    quickly(replace_index("messages_of_user"), SEARCH, MODELS)


def downgrade() -> None:
    with online() as steps:
        steps.index("messages_of_user_next", "INDEX {name} ON messages (user_id)")
    quickly(
        replace_index("messages_of_user"),
        """
        DROP TABLE usage_days;
        ALTER TABLE generations DROP COLUMN cost, DROP COLUMN currency;
        DELETE FROM models WHERE name = 'offline-tools';
        ALTER TABLE models DROP CONSTRAINT models_price, DROP COLUMN label, DROP COLUMN description, DROP COLUMN tools,
            DROP COLUMN input_price, DROP COLUMN output_price, DROP COLUMN currency;
        DROP FUNCTION search_mine(tsquery, tsquery, timestamptz, uuid, integer);
        DROP TRIGGER keep_words ON messages;
        DROP TRIGGER keep_words ON conversations;
        ALTER TABLE messages DROP COLUMN search;
        ALTER TABLE conversations DROP COLUMN search;
        DROP FUNCTION keep_words_of_message(), keep_words_of_conversation(), words_of_conversation(uuid, text),
            words_of_message(uuid, timestamptz, text), month_of(timestamptz);
    """,
    )
