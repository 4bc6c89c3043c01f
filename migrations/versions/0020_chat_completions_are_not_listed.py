"""Conversations that no list, no search and no feed shows, such as those of chat completions."""

from importlib import import_module

from migrations.online import online, quickly, replace_index

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_RECENT = "last_message_at DESC, id DESC"
INDEXES = {
    "conversations_listed": f"INDEX {{name}} ON conversations (user_id, {_RECENT}) WHERE archived_at IS NULL",
    "conversations_archived": f"INDEX {{name}} ON conversations (user_id, {_RECENT}) WHERE archived_at IS NOT NULL",
    "conversations_by_model": f"INDEX {{name}} ON conversations (user_id, model, {_RECENT}) WHERE archived_at IS NULL",
}

# Messages and titles of unlisted conversations have no words, so that no search finds them and no index holds them.
WORDS = """
CREATE OR REPLACE FUNCTION keep_words_of_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM conversations c WHERE c.id = NEW.conversation_id AND NOT c.listed) THEN
        NEW.search := CAST('' AS tsvector);
        NEW.indexed := true;
    ELSE
        NEW.search := words_of_message(NEW.user_id, NEW.created_at, NEW.content);
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE FUNCTION keep_words_of_conversation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search := CASE WHEN NEW.listed THEN words_of_conversation(NEW.user_id, NEW.title) ELSE CAST('' AS tsvector) END;
    RETURN NEW;
END $$;
"""


def upgrade() -> None:
    with online() as steps:
        steps.change("ALTER TABLE conversations ADD COLUMN IF NOT EXISTS listed boolean NOT NULL DEFAULT true")
        for name, definition in INDEXES.items():
            steps.index(f"{name}_next", f"{definition} AND listed")
    quickly(*map(replace_index, INDEXES), WORDS)


def downgrade() -> None:
    """Every conversation is listed again. Messages that had no words are not found.

    The functions leave the column in a transaction of their own: an INSERT that has begun with the earlier function
    waits for the table, and would miss a column that is dropped together with it.
    """
    words = import_module("migrations.versions.0005_search_usage_models").COLUMNS
    with online() as steps:
        steps.change(words)
        for name, definition in INDEXES.items():
            steps.index(f"{name}_next", definition)
    quickly(*map(replace_index, INDEXES), "ALTER TABLE conversations DROP COLUMN listed")
