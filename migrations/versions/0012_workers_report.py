"""Each worker process has a row that it renews; each generation has the id of the request that created it."""

from migrations.online import online, quickly

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with online() as steps:
        steps.change("ALTER TABLE generations ADD COLUMN IF NOT EXISTS request_id text")
        steps.check("generations", "generations_request_id_check", "length(request_id) <= 128")
    quickly("""
        CREATE TABLE workers (
            name text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 255),
            version text NOT NULL,
            state text NOT NULL CHECK (state IN ('working', 'draining')),
            slots integer NOT NULL CHECK (slots >= 0),
            running integer NOT NULL CHECK (running >= 0),
            started timestamptz NOT NULL DEFAULT now(),
            last_seen timestamptz NOT NULL DEFAULT now()
        ) WITH (fillfactor = 50);
        GRANT SELECT, INSERT, UPDATE, DELETE ON workers TO unbroken_system;
        GRANT SELECT (slots, state, last_seen) ON workers TO unbroken_app;
    """)


def downgrade() -> None:
    quickly("""
        DROP TABLE workers;
        ALTER TABLE generations DROP COLUMN request_id;
    """)
