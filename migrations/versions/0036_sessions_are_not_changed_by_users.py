"""A user's own transaction adds and ends sessions and changes none; service accounts are found by an index."""

from migrations.online import online, quickly

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

INDEX = "INDEX {name} ON users (id) WHERE kind = 'service'"


def upgrade() -> None:
    with online() as steps:
        steps.index("users_of_services", INDEX)
    # The functions of unbroken_definer note the use of sessions.
    quickly("REVOKE UPDATE ON sessions FROM unbroken_app")


def downgrade() -> None:
    quickly("GRANT UPDATE ON sessions TO unbroken_app", "DROP INDEX users_of_services")
