"""What the feeds keep of deleted conversations is found by the age of their deletion, and removed."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX feed_events_deletions ON feed_events (created_at) WHERE type = 'conversation.deleted';")


def downgrade() -> None:
    op.execute("DROP INDEX feed_events_deletions;")
