"""A row of checkpoints grows in its page, where the next one is put in front of it; there must be room for that."""

from migrations.online import quickly

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    quickly("ALTER TABLE generation_chunks SET (fillfactor = 50);")


def downgrade() -> None:
    """Leave grown rows as they are; earlier releases do not read them."""
    quickly("ALTER TABLE generation_chunks RESET (fillfactor);")
