"""A renewal of a lease writes ahead only the bytes between the first and the last that it changes."""

from migrations.online import quickly

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# PostgreSQL logs the difference between two versions of a row in one page as one piece. lease_until stood before the
# parameters, the hash of the request and other columns, and last_updated behind them. As the last column, lease_until
# follows last_updated: cost and currency, which are between them, are NULL while a worker renews.
MOVE = """
ALTER TABLE generations ADD COLUMN lease_now timestamptz;
UPDATE generations SET lease_now = lease_until WHERE status IN ('queued', 'running');
ALTER TABLE generations DROP COLUMN lease_until;
ALTER TABLE generations RENAME COLUMN lease_now TO lease_until;
"""


def upgrade() -> None:
    quickly(MOVE)


def downgrade() -> None:
    """Do nothing: the place of the column does not matter to earlier code."""
