"""A row of checkpoints grows in its page, where the next one is put in front of it; there must be room for that."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE generation_chunks SET (fillfactor = 50);")


def downgrade() -> None:
    """Rows that have grown stay as they are; earlier releases do not read them."""
    op.execute("ALTER TABLE generation_chunks RESET (fillfactor);")
