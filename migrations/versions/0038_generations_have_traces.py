"""A generation names the trace of the request that created it, as W3C Trace Context writes it."""

from migrations.online import online, quickly

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with online() as steps:
        steps.change(
            "ALTER TABLE generations ADD COLUMN IF NOT EXISTS traceparent text",
            "ALTER TABLE generations ADD COLUMN IF NOT EXISTS tracestate text",
        )
        steps.check("generations", "generations_traceparent_check", "length(traceparent) = 55")
        steps.check("generations", "generations_tracestate_check", "length(tracestate) <= 512")


def downgrade() -> None:
    quickly("ALTER TABLE generations DROP COLUMN traceparent, DROP COLUMN tracestate")
