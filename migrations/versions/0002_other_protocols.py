"""Rows for other protocols: structured messages, requests that replies repeat, conversations without messages."""

from alembic import op

from migrations.online import quickly

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = """
-- The parts of a message beyond its text: tool calls, their outputs, several roles. NULL: it is text only.
ALTER TABLE messages ADD COLUMN items jsonb;

-- Apart from the generations, whose rows are rewritten at every renewal of a lease and must stay narrow.
-- deleted_at: the response is gone, and its messages stay because others of their conversation build on them.
CREATE TABLE responses (
    generation_id uuid PRIMARY KEY REFERENCES generations ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    request jsonb NOT NULL DEFAULT '{}',
    deleted_at timestamptz
);
CREATE INDEX responses_of_user ON responses (user_id);

-- A conversation cannot exist without a message. Where a protocol creates it first, its id waits here.
CREATE TABLE reserved_conversations (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX reserved_conversations_of_user ON reserved_conversations (user_id);
"""


def upgrade() -> None:
    quickly(TABLES)
    for table in ("responses", "reserved_conversations"):
        op.execute(f"""
            ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
            GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO unbroken_app, unbroken_system;
            CREATE POLICY own_rows ON {table} TO unbroken_app
                USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
            CREATE POLICY every_row ON {table} TO unbroken_system USING (true) WITH CHECK (true);
        """)


def downgrade() -> None:
    quickly("DROP TABLE responses, reserved_conversations; ALTER TABLE messages DROP COLUMN items;")
