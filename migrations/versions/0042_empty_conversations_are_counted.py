"""A count of new conversations without a message: it proves that there are none."""

from migrations.definer import create_definers, drop_functions
from migrations.online import quickly

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

# An id begins with its time in milliseconds, so the primary key finds the new ones.
FUNCTIONS = {
    "empty_conversations(seconds float8)": """
        RETURNS bigint LANGUAGE sql STABLE AS $$
        SELECT count(*) FROM conversations c
        WHERE c.id >= CAST(lpad(to_hex(CAST(extract(epoch FROM now() - make_interval(secs => seconds)) * 1000
                AS bigint)), 12, '0') || repeat('0', 20) AS uuid)
            AND NOT EXISTS (SELECT FROM messages m WHERE m.conversation_id = c.id) $$""",
}


def upgrade() -> None:
    quickly(*create_definers(FUNCTIONS, "unbroken_app", "unbroken_system"))


def downgrade() -> None:
    quickly(*drop_functions(FUNCTIONS))
