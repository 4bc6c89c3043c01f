"""An index for pruning feeds: changes that only the user's feed has are found by age, others by conversation."""

from migrations.online import online

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with online() as steps:
        steps.index("feed_events_passing", "INDEX {name} ON feed_events (created_at) WHERE conversation_seq IS NULL")


def downgrade() -> None:
    with online() as steps:
        steps.drop_index("feed_events_passing")
