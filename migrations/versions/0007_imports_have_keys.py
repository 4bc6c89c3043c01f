"""A conversation that was brought in knows the key of the request that did it, so that a repeat finds it."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE conversations
            ADD COLUMN import_key text CHECK (length(import_key) BETWEEN 1 AND 200),
            ADD COLUMN import_hash bytea;
        CREATE UNIQUE INDEX conversations_import ON conversations (user_id, import_key) WHERE import_key IS NOT NULL;
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE conversations DROP COLUMN import_key, DROP COLUMN import_hash;")
