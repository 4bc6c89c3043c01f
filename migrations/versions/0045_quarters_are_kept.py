"""A row for each quarter of an hour of the service, made of its minutes: a day is read in 96 rows."""

from migrations.online import quickly

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE service_quarters (LIKE service_minutes INCLUDING DEFAULTS);
ALTER TABLE service_quarters ADD PRIMARY KEY (minute),
    ADD CONSTRAINT service_quarters_minute_check
        CHECK (minute = date_bin(interval '15 minutes', minute, timestamptz '2000-01-01 00:00:00+00'));
GRANT SELECT ON service_quarters TO unbroken_operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON service_quarters TO unbroken_system;
"""


def upgrade() -> None:
    quickly(TABLE)


def downgrade() -> None:
    quickly("DROP TABLE service_quarters")
