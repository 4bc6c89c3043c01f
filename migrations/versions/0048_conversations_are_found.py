"""Conversations are pinned, tagged, unread, temporary and set up, and users have preferences."""

from migrations.online import online, quickly

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None

# ended_seq and seen_seq are numbers of the conversation's feed: of the newest end of an answer, and of the place up to
# which the user has seen it. A temporary conversation is not listed, and is removed some time after its last message.
COLUMNS = """
ALTER TABLE conversations
    ADD COLUMN IF NOT EXISTS pinned boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS tags text[] NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS ended_seq integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS seen_seq integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS temporary boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS system_prompt text,
    ADD COLUMN IF NOT EXISTS parameters jsonb NOT NULL DEFAULT '{}'
"""
INDEXES = {
    "conversations_pinned": """INDEX {name} ON conversations (user_id, last_message_at DESC, id DESC)
        WHERE pinned AND archived_at IS NULL AND listed""",
    "conversations_temporary": "INDEX {name} ON conversations (last_message_at) WHERE temporary",
}

PREFERENCES = """
CREATE TABLE preferences (
    user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    chosen jsonb NOT NULL DEFAULT '{}',
    last_updated timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE preferences ENABLE ROW LEVEL SECURITY;
ALTER TABLE preferences FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON preferences TO unbroken_app
    USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
CREATE POLICY every_row ON preferences TO unbroken_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, DELETE, UPDATE (chosen, last_updated) ON preferences TO unbroken_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON preferences TO unbroken_system;
"""


def upgrade() -> None:
    with online() as steps:
        steps.change(COLUMNS)
        for name, definition in INDEXES.items():
            steps.index(name, definition)
    quickly(PREFERENCES)


def downgrade() -> None:
    with online() as steps:
        for name in INDEXES:
            steps.drop_index(name)
    quickly("""
        DROP TABLE preferences;
        ALTER TABLE conversations DROP COLUMN pinned, DROP COLUMN tags, DROP COLUMN ended_seq, DROP COLUMN seen_seq,
            DROP COLUMN temporary, DROP COLUMN system_prompt, DROP COLUMN parameters
    """)
