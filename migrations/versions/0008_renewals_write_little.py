"""A renewal of a lease writes ahead only the bytes between the first and the last that it changes."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# PostgreSQL logs of a new version of a row in the same page what differs from the old one, in one piece. lease_until
# stood before the parameters, the hash of the request and much else, and last_updated behind them. As the last column
# it is the next one: cost and currency, which are between them, are NULL while anybody renews.
MOVE = """
ALTER TABLE generations ADD COLUMN lease_now timestamptz;
UPDATE generations SET lease_now = lease_until WHERE status IN ('queued', 'running');
ALTER TABLE generations DROP COLUMN lease_until;
ALTER TABLE generations RENAME COLUMN lease_now TO lease_until;
"""


def upgrade() -> None:
    op.execute(MOVE)


def downgrade() -> None:
    """Nothing: the column is the same one wherever it stands."""
