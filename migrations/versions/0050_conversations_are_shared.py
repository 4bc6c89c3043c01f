"""Conversations are shared as snapshots, and answers have feedback."""

from migrations.definer import create_definers, drop_functions
from migrations.online import online, quickly

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None

FEEDBACK = "ALTER TABLE messages ADD COLUMN IF NOT EXISTS feedback jsonb"

# A share is a copy of the messages as they were. The text of its address is stored nowhere: digest is its SHA-256.
TABLE = """
CREATE TABLE shares (
    conversation_id uuid PRIMARY KEY REFERENCES conversations ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    title text NOT NULL,
    messages jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX shares_of_user ON shares (user_id, created_at);
ALTER TABLE shares ENABLE ROW LEVEL SECURITY;
ALTER TABLE shares FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON shares TO unbroken_app
    USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
CREATE POLICY every_row ON shares TO unbroken_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, DELETE, UPDATE (digest, title, messages, created_at) ON shares TO unbroken_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON shares TO unbroken_system;
"""
INNER = {
    # A conversation that a hold keeps gets another owner: for its user it is deleted, and its share ends.
    "end_share()": """
        RETURNS trigger LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
            IF NEW.user_id <> OLD.user_id THEN
                DELETE FROM shares WHERE conversation_id = NEW.id;
            END IF;
            RETURN NULL;
        END $$""",
}
FOR_THE_SERVICE = {
    # The address is the whole credential: nothing about the user is returned.
    "shared_conversation(wanted bytea)": """
        RETURNS TABLE (title text, messages jsonb, created_at timestamptz) LANGUAGE sql STABLE AS $$
        SELECT s.title, s.messages, s.created_at FROM shares s JOIN users u ON u.id = s.user_id
        WHERE s.digest = wanted AND u.blocked_at IS NULL AND u.erasing_at IS NULL AND u.ended_at IS NULL $$""",
}
TRIGGER = """CREATE TRIGGER end_share AFTER UPDATE OF user_id ON conversations
    FOR EACH ROW EXECUTE FUNCTION end_share()"""


def upgrade() -> None:
    with online() as steps:
        steps.change(FEEDBACK)
    quickly(
        TABLE,
        *create_definers(INNER, "unbroken_definer"),
        *create_definers(FOR_THE_SERVICE, "unbroken_app", "unbroken_system"),
        TRIGGER,
    )


def downgrade() -> None:
    quickly(
        "DROP TRIGGER end_share ON conversations",
        "DROP TABLE shares",
        *drop_functions({**FOR_THE_SERVICE, **INNER}),
        "ALTER TABLE messages DROP COLUMN feedback",
    )
