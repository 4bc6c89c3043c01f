"""An imported conversation has the key of the request that imported it, so that a repeated request finds it."""

from migrations.online import online, quickly

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with online() as steps:
        steps.change("""
            ALTER TABLE conversations
                ADD COLUMN IF NOT EXISTS import_key text,
                ADD COLUMN IF NOT EXISTS import_hash bytea
        """)
        steps.check("conversations", "conversations_import_key_check", "length(import_key) BETWEEN 1 AND 200")
        steps.index(
            "conversations_import",
            "UNIQUE INDEX {name} ON conversations (user_id, import_key) WHERE import_key IS NOT NULL",
        )


def downgrade() -> None:
    quickly("ALTER TABLE conversations DROP COLUMN import_key, DROP COLUMN import_hash;")
