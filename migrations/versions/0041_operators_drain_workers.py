"""Operators drain workers: the request, and the worker's reply that it may be stopped, are in the worker's row."""

from migrations.online import online, quickly

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

# ``left_at``: the process ended on purpose. ``may_stop``: nothing runs in a drained worker.
COLUMNS = """ALTER TABLE workers
    ADD COLUMN IF NOT EXISTS drain_requested_at timestamptz,
    ADD COLUMN IF NOT EXISTS drain_mode text,
    ADD COLUMN IF NOT EXISTS drain_reason text,
    ADD COLUMN IF NOT EXISTS may_stop boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS left_at timestamptz"""
REQUEST = "drain_requested_at, drain_mode, drain_reason, may_stop"


def upgrade() -> None:
    with online() as steps:
        steps.change(COLUMNS)
        steps.check("workers", "workers_drain_mode_check", "drain_mode IN ('finish', 'hand_over')")
        steps.check("workers", "workers_drain_check", "(drain_requested_at IS NULL) = (drain_mode IS NULL)")
        steps.check("workers", "workers_drain_reason_check", "length(drain_reason) <= 500")
    quickly(
        "GRANT SELECT (drain_requested_at) ON workers TO unbroken_app",
        f"GRANT UPDATE ({REQUEST}) ON workers TO unbroken_operator",
    )


def downgrade() -> None:
    quickly(
        f"REVOKE UPDATE ({REQUEST}) ON workers FROM unbroken_operator",
        """ALTER TABLE workers DROP COLUMN drain_requested_at, DROP COLUMN drain_mode, DROP COLUMN drain_reason,
            DROP COLUMN may_stop, DROP COLUMN left_at""",
    )
