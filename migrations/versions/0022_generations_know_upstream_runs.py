"""The run that the last call of a generation has begun at an upstream that keeps runs."""

from migrations.online import quickly

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    quickly("ALTER TABLE generations ADD COLUMN upstream_run jsonb")


def downgrade() -> None:
    quickly("ALTER TABLE generations DROP COLUMN upstream_run")
