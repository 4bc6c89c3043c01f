"""The census of webhooks has the overdue ones: a receiver that is down makes deliveries old, and no sender late."""

from migrations.definer import create_definers, drop_functions
from migrations.online import quickly

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None

# A count ends at the bound: a scrape never reads more rows. A test of an endpoint that failed is no dead letter.
COUNTED = 100_000
CENSUS = "webhook_census()"
RETURNS = "RETURNS TABLE (waiting bigint, oldest_seconds float8, dead bigint) LANGUAGE sql STABLE AS"
OVERDUE = f"""{RETURNS} $$
    SELECT
        (SELECT count(*) FROM (SELECT FROM webhook_deliveries WHERE state = 'waiting' LIMIT {COUNTED}) w),
        (SELECT CAST(greatest(extract(epoch FROM clock_timestamp() - min(next_attempt_at)), 0) AS float8)
         FROM webhook_deliveries WHERE state = 'waiting' HAVING min(next_attempt_at) IS NOT NULL),
        (SELECT count(*) FROM
            (SELECT FROM webhook_deliveries WHERE state = 'dead' AND NOT is_test LIMIT {COUNTED}) d) $$"""
BY_AGE = f"""{RETURNS} $$
    SELECT
        (SELECT count(*) FROM webhook_deliveries WHERE state = 'waiting'),
        (SELECT CAST(extract(epoch FROM clock_timestamp() - min(created_at)) AS float8)
         FROM webhook_deliveries WHERE state = 'waiting'),
        (SELECT count(*) FROM webhook_deliveries WHERE state = 'dead') $$"""


def upgrade() -> None:
    _replace(OVERDUE)


def downgrade() -> None:
    _replace(BY_AGE)


def _replace(body: str) -> None:
    quickly(*drop_functions([CENSUS]), *create_definers({CENSUS: body}, "unbroken_app", "unbroken_system"))
