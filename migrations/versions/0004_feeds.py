"""Feeds: every change of a conversation, numbered in the transaction that makes it."""

from alembic import op

from migrations.online import quickly

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = """
-- How many changes of a conversation, and of everything a user has, were numbered. A row that is updated is locked
-- until its transaction ends: so numbers have no gaps, and their order is the order of the commits.
ALTER TABLE conversations ADD COLUMN feed_seq integer NOT NULL DEFAULT 0;
CREATE TABLE feeds (
    user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    seq integer NOT NULL
) WITH (fillfactor = 50);

-- One change. It refers to messages and has no copy of them; body is what of a conversation changed.
-- seq is its number among the user's changes, conversation_seq among the conversation's, where it has one.
-- No foreign key to conversations: that one was deleted is a change too.
CREATE TABLE feed_events (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    seq integer NOT NULL,
    conversation_id uuid NOT NULL,
    conversation_seq integer,
    type text NOT NULL,
    message_id uuid,
    body jsonb,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, seq)
);
CREATE UNIQUE INDEX feed_events_of_conversation ON feed_events (conversation_id, conversation_seq)
    WHERE conversation_seq IS NOT NULL;
"""


def upgrade() -> None:
    quickly(TABLES)
    for table in ("feeds", "feed_events"):
        op.execute(f"""
            ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
            GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO unbroken_app, unbroken_system;
            CREATE POLICY own_rows ON {table} TO unbroken_app
                USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
            CREATE POLICY every_row ON {table} TO unbroken_system USING (true) WITH CHECK (true);
        """)


def downgrade() -> None:
    quickly("DROP TABLE feed_events, feeds; ALTER TABLE conversations DROP COLUMN feed_seq;")
