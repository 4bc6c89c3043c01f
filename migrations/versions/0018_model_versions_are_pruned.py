"""Workers may remove versions of model configurations that no unfinished generation names."""

from migrations.online import quickly

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    quickly("GRANT DELETE ON model_versions TO unbroken_system")


def downgrade() -> None:
    quickly("REVOKE DELETE ON model_versions FROM unbroken_system")
