"""Names of ended credentials and users, which every web process reads."""

from migrations.online import quickly

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

# The table holds names with ids and no other data of users. unbroken_app reads it without a user, and adds to it in a
# user's name. Transactions commit in another order than they add rows, so a reader goes by the ids of transactions.
TABLE = """
CREATE TABLE revocations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    revoked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX revocations_transaction ON revocations (transaction, id);
CREATE INDEX revocations_revoked_at ON revocations (revoked_at);
CREATE INDEX revocations_name ON revocations (name);
GRANT SELECT, INSERT ON revocations TO unbroken_app;
GRANT INSERT ON revocations TO unbroken_operator;
GRANT SELECT, INSERT, DELETE ON revocations TO unbroken_system;
"""


def upgrade() -> None:
    quickly(TABLE)


def downgrade() -> None:
    quickly("DROP TABLE revocations")
