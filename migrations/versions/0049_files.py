"""Files of users, the messages that refer to them, and the bytes that are to be removed."""

from migrations.definer import create_definers, drop_functions
from migrations.online import quickly

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None

# A web process takes a file out of sight, and a worker removes the row. used_at: it was added, completed, deleted, or
# used again.
FILES = """
CREATE TABLE files (
    id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^file-[0-9a-f]{32}$'),
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    filename text NOT NULL CHECK (length(filename) BETWEEN 1 AND 255),
    purpose text NOT NULL CHECK (purpose IN ('user_data', 'vision', 'batch', 'batch_output')),
    media_type text NOT NULL CHECK (length(media_type) BETWEEN 3 AND 200),
    bytes bigint NOT NULL CHECK (bytes > 0),
    sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
    width integer CHECK (width > 0),
    height integer CHECK (height > 0),
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'ready', 'deleted')),
    is_attachment boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    CHECK ((width IS NULL) = (height IS NULL))
);
CREATE INDEX files_of_user ON files (user_id, id);
CREATE INDEX files_of_hash ON files (user_id, sha256);
CREATE INDEX files_expiring ON files (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX files_unready ON files (status, used_at) WHERE status <> 'ready';
GRANT SELECT, INSERT (id, user_id, filename, purpose, media_type, bytes, sha256, width, height, is_attachment,
    expires_at), UPDATE (status, used_at) ON files TO unbroken_app;
GRANT SELECT, UPDATE, DELETE ON files TO unbroken_system;
"""
# Written by a trigger of the messages, removed with either end.
REFERENCES = """
CREATE TABLE file_references (
    file_id text COLLATE "C" NOT NULL REFERENCES files ON DELETE CASCADE,
    message_id uuid NOT NULL REFERENCES messages ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY (file_id, message_id)
);
CREATE INDEX file_references_of_message ON file_references (message_id);
CREATE INDEX file_references_of_user ON file_references (user_id);
GRANT SELECT ON file_references TO unbroken_app;
GRANT SELECT, INSERT, DELETE ON file_references TO unbroken_system;
"""
# The keys of bytes whose row is gone, for workers. The web process's role has no right on it.
REMOVALS = """
CREATE TABLE file_removals (
    key text COLLATE "C" PRIMARY KEY,
    removed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT SELECT, INSERT, DELETE ON file_removals TO unbroken_system;
"""
TABLES = ("files", "file_references")
POLICIES = """
ALTER TABLE {0} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {0} FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON {0} TO unbroken_app
    USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
CREATE POLICY every_row ON {0} TO unbroken_system USING (true) WITH CHECK (true);
"""
FUNCTIONS = {
    "note_file_removals()": """
        RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO file_removals (key) SELECT DISTINCT gone.user_id || '/' || encode(gone.sha256, 'hex') FROM gone
                ON CONFLICT DO NOTHING;
            RETURN NULL;
        END $$""",
    # Every file_id of a message's items, at any depth. A file of another user is no reference.
    "note_file_references()": """
        RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            named text[] := ARRAY(
                SELECT DISTINCT p.id #>> '{}' FROM jsonb_path_query(NEW.items, 'lax $.**.file_id') AS p(id)
                WHERE jsonb_typeof(p.id) = 'string');
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                DELETE FROM file_references r WHERE r.message_id = NEW.id AND r.file_id <> ALL(named);
            END IF;
            INSERT INTO file_references (file_id, message_id, user_id)
                SELECT f.id, NEW.id, f.user_id FROM files f WHERE f.id = ANY(named) AND f.user_id = NEW.user_id
                FOR KEY SHARE ON CONFLICT DO NOTHING;
            RETURN NULL;
        END $$""",
}
TRIGGERS = """
CREATE TRIGGER note_removals AFTER DELETE ON files REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION note_file_removals();
CREATE TRIGGER note_files AFTER INSERT OR UPDATE OF items ON messages FOR EACH ROW
    WHEN (NEW.items IS NOT NULL) EXECUTE FUNCTION note_file_references()
"""


def upgrade() -> None:
    quickly(
        FILES,
        REFERENCES,
        REMOVALS,
        *(POLICIES.format(table) for table in TABLES),
        *create_definers(FUNCTIONS, "unbroken_definer"),
        TRIGGERS,
    )


def downgrade() -> None:
    """The bytes stay in the storage: without rows nothing knows them."""
    quickly(
        "DROP TRIGGER note_files ON messages",
        "DROP TABLE file_references, file_removals, files",
        *drop_functions(FUNCTIONS),
    )
