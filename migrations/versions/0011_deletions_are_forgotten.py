"""An index for removing the feeds of deleted conversations by the age of their deletion."""

from migrations.online import online

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with online() as steps:
        steps.index(
            "feed_events_deletions", "INDEX {name} ON feed_events (created_at) WHERE type = 'conversation.deleted'"
        )


def downgrade() -> None:
    with online() as steps:
        steps.drop_index("feed_events_deletions")
