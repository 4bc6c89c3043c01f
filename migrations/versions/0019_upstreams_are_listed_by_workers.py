"""The model names of each upstream, as a worker read them last; web processes read them here."""

from migrations.online import quickly

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# The row belongs to no user. ``trouble`` is the reason of the last failed refresh, and NULL after a good one.
TABLE = """
CREATE TABLE upstream_models (
    upstream text PRIMARY KEY,
    names text[] NOT NULL DEFAULT '{}',
    listed_at timestamptz,
    trouble text,
    refresh_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON upstream_models TO unbroken_app;
GRANT SELECT, INSERT, UPDATE ON upstream_models TO unbroken_system;
"""


def upgrade() -> None:
    quickly(TABLE)


def downgrade() -> None:
    quickly("DROP TABLE upstream_models")
