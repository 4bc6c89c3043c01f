"""Uploads in parts: bytes that wait for the rest of their file."""

from migrations.online import quickly

revision = "0051"
down_revision = "0050"
branch_labels = None
depends_on = None

# completed_with: the SHA-256 of the ids with which it was completed. is_settled: a worker has removed the parts of an
# upload that has ended.
UPLOADS = """
CREATE TABLE uploads (
    id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^upload_[0-9a-f]{32}$'),
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    filename text NOT NULL CHECK (length(filename) BETWEEN 1 AND 255),
    purpose text CHECK (purpose IN ('user_data', 'vision', 'batch')),
    declared text CHECK (length(declared) <= 255),
    bytes bigint NOT NULL CHECK (bytes > 0),
    is_attachment boolean NOT NULL DEFAULT false,
    file_seconds integer CHECK (file_seconds > 0),
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'completed', 'cancelled')),
    file_id text,
    completed_with bytea CHECK (octet_length(completed_with) = 32),
    is_settled boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CHECK ((status = 'completed') = (file_id IS NOT NULL)),
    CHECK ((status = 'completed') = (completed_with IS NOT NULL))
);
CREATE INDEX uploads_of_user ON uploads (user_id, id);
CREATE INDEX uploads_unsettled ON uploads (expires_at) WHERE NOT is_settled;
CREATE INDEX uploads_settled ON uploads (expires_at) WHERE is_settled;
GRANT SELECT, INSERT (id, user_id, filename, purpose, declared, bytes, is_attachment, file_seconds, expires_at),
    UPDATE (status, file_id, completed_with) ON uploads TO unbroken_app;
GRANT SELECT, UPDATE, DELETE ON uploads TO unbroken_system;
"""
# starts_at: the place of a part that was appended; null for one whose place the completion says. A part is not ready
# until its bytes are written.
PARTS = """
CREATE TABLE upload_parts (
    id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^part_[0-9a-f]{32}$'),
    upload_id text COLLATE "C" NOT NULL REFERENCES uploads ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    starts_at bigint CHECK (starts_at >= 0),
    bytes bigint NOT NULL CHECK (bytes > 0),
    sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
    is_ready boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX upload_parts_of_upload ON upload_parts (upload_id);
CREATE INDEX upload_parts_of_hash ON upload_parts (user_id, sha256);
CREATE UNIQUE INDEX upload_parts_in_order ON upload_parts (upload_id, starts_at) WHERE is_ready;
GRANT SELECT, INSERT (id, upload_id, user_id, starts_at, bytes, sha256), UPDATE (is_ready), DELETE
    ON upload_parts TO unbroken_app;
GRANT SELECT, UPDATE, DELETE ON upload_parts TO unbroken_system;
"""
POLICIES = """
ALTER TABLE {0} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {0} FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON {0} TO unbroken_app
    USING (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
CREATE POLICY every_row ON {0} TO unbroken_system USING (true) WITH CHECK (true);
"""
# The bytes of a part follow its row, as those of a file do.
TRIGGER = """
CREATE TRIGGER note_removals AFTER DELETE ON upload_parts REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION note_file_removals();
"""


def upgrade() -> None:
    quickly(UPLOADS, PARTS, *(POLICIES.format(table) for table in ("uploads", "upload_parts")), TRIGGER)


def downgrade() -> None:
    """The bytes of parts stay in the storage until its pass: without rows nothing knows them."""
    quickly("DROP TABLE upload_parts, uploads")
