"""Chats under ids their clients chose, and tickets that open one stream."""

from alembic import op

from migrations.online import online, quickly

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = """
-- A chat's id is its client's choice and means something for that user only: two users may choose the same.
-- No foreign key: the conversation is promised before it begins (reserved_conversations), in another transaction.
CREATE TABLE client_chats (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    chat_id text NOT NULL CHECK (length(chat_id) BETWEEN 1 AND 200),
    conversation_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, chat_id)
);
CREATE INDEX client_chats_of_conversation ON client_chats (conversation_id);

CREATE FUNCTION forget_client_chats() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM client_chats WHERE conversation_id = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_client_chats AFTER DELETE ON conversations FOR EACH ROW EXECUTE FUNCTION forget_client_chats();

-- Only the digest is stored: a reader of this table cannot open a stream with it.
-- object is the generation or the conversation; token_expires_at ends the stream as the user's own token would.
CREATE TABLE stream_tickets (
    digest bytea PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    object uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    opened_at timestamptz,
    token_expires_at timestamptz NOT NULL
);
CREATE INDEX stream_tickets_of_user ON stream_tickets (user_id, created_at);
"""

# The name that a client gave to a message of a conversation.
BY_CLIENT = "INDEX {name} ON messages (conversation_id, client_msg_id) WHERE client_msg_id IS NOT NULL"


def upgrade() -> None:
    with online() as steps:
        steps.index("messages_client_msg", BY_CLIENT)
    quickly(TABLES)
    for table in ("client_chats", "stream_tickets"):
        op.execute(f"""
            ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
            GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO unbroken_app, unbroken_system;
            CREATE POLICY own_rows ON {table} TO unbroken_app
                USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
            CREATE POLICY every_row ON {table} TO unbroken_system USING (true) WITH CHECK (true);
        """)


def downgrade() -> None:
    quickly("""
        DROP TRIGGER forget_client_chats ON conversations;
        DROP FUNCTION forget_client_chats();
        DROP TABLE client_chats, stream_tickets;
        DROP INDEX messages_client_msg;
    """)
