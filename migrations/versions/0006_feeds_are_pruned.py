"""Feeds are pruned: what only the feed of everything has is found by its age. The rest is found by conversation."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX feed_events_passing ON feed_events (created_at) WHERE conversation_seq IS NULL;")


def downgrade() -> None:
    op.execute("DROP INDEX feed_events_passing;")
