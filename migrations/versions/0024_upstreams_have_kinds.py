"""Workers store the kind of each upstream: web processes do not read the variables of upstreams."""

from migrations.online import quickly

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    quickly("ALTER TABLE upstream_models ADD COLUMN kind text")


def downgrade() -> None:
    quickly("ALTER TABLE upstream_models DROP COLUMN kind")
