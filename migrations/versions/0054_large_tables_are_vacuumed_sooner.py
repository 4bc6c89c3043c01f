"""Autovacuum begins with the large tables that are updated when 2 percent of their rows are dead, and not 20."""

from migrations.online import quickly

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None

# Their updates change indexed columns, so each leaves a dead row and dead entries of every index (decision 0083).
TABLES = ("generations", "conversations", "webhook_deliveries", "feed_events")


def upgrade() -> None:
    # This lock excludes other changes of the schema and VACUUM, and neither readers nor writers.
    for table in TABLES:
        quickly(f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.02)")


def downgrade() -> None:
    for table in TABLES:
        quickly(f"ALTER TABLE {table} RESET (autovacuum_vacuum_scale_factor)")
