"""The incarnation of the database is stored, so that workers notice a restore and use no epoch a second time."""

from migrations.online import quickly

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None


def upgrade() -> None:
    quickly("""
        CREATE TABLE incarnation (
            is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
            name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
            entered_at timestamptz NOT NULL DEFAULT now()
        );
        GRANT SELECT, INSERT, UPDATE ON incarnation TO unbroken_system;
    """)


def downgrade() -> None:
    quickly("DROP TABLE incarnation")
