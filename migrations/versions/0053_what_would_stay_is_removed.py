"""Old reservations, tickets, usage and erasures are found by their time, and workers remove unused lists of models."""

from migrations.online import online, quickly

revision = "0053"
down_revision = "0052"
branch_labels = None
depends_on = None

INDEXES = {
    "reserved_conversations_by_age": "INDEX {name} ON reserved_conversations (created_at)",
    "stream_tickets_by_age": "INDEX {name} ON stream_tickets (created_at)",
    "usage_days_by_day": "INDEX {name} ON usage_days (day)",
    "key_usage_days_by_day": "INDEX {name} ON key_usage_days (day)",
    "erasures_finished": "INDEX {name} ON erasures (finished_at) WHERE finished_at IS NOT NULL",
    # The changes of a user that only the user's feed has. By age, in feed_events_passing, most old ones stay, and each
    # batch would read them again. That index stays until the version after this one: earlier code has no other.
    "feed_events_passing_of_user": "INDEX {name} ON feed_events (user_id, seq) WHERE conversation_seq IS NULL",
    # Each sweep looks for these: the index over all erasures has the finished ones, too, which only become more.
    "erasures_unfinished": "INDEX {name} ON erasures (emptied_at) WHERE finished_at IS NULL",
}
# An early form of this migration has removed this index.
PASSING = "INDEX {name} ON feed_events (created_at) WHERE conversation_seq IS NULL"


def upgrade() -> None:
    with online() as steps:
        for name, definition in INDEXES.items():
            steps.index(name, definition)
    quickly("GRANT DELETE ON upstream_models TO unbroken_system")


def downgrade() -> None:
    with online() as steps:
        steps.index("feed_events_passing", PASSING)
        for name in INDEXES:
            steps.drop_index(name)
    quickly("REVOKE DELETE ON upstream_models FROM unbroken_system")
