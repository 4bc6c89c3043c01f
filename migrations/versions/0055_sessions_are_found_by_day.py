"""Sessions that have ended by themselves are found by the day of their last use, and by their age."""

from importlib import import_module

from migrations.definer import SEARCH_PATH
from migrations.online import online, quickly

revision = "0055"
down_revision = "0054"
branch_labels = None
depends_on = None

# An index over seen_at would cost each use its HOT update. The day changes once a day. now() is stable, so no row is
# written: earlier rows get the day of the migration.
DAY = """ALTER TABLE sessions
    ADD COLUMN IF NOT EXISTS seen_on date NOT NULL DEFAULT CAST(now() AT TIME ZONE 'UTC' AS date)"""
INDEXES = {
    "sessions_by_day": "INDEX {name} ON sessions (seen_on)",
    "sessions_by_age": "INDEX {name} ON sessions (created_at)",
}
SEEN = "SET seen_at = at_time"
SEEN_ON = "SET seen_at = at_time, seen_on = CAST(at_time AT TIME ZONE 'UTC' AS date)"


def upgrade() -> None:
    with online() as steps:
        steps.change(DAY)
        for name, definition in INDEXES.items():
            steps.index(name, definition)
        # For code of before 0053. An early form of 0053 has removed it; where it is there, nothing is done.
        steps.index("feed_events_passing", import_module("migrations.versions.0053_what_would_stay_is_removed").PASSING)
    quickly(*_noting(SEEN_ON))


def downgrade() -> None:
    quickly(*_noting(SEEN), "ALTER TABLE sessions DROP COLUMN seen_on", "DROP INDEX sessions_by_age")


def _noting(seen: str) -> list[str]:
    """The statements that replace the functions of 0028 that note a use."""
    functions = import_module("migrations.versions.0028_people_have_sessions").FUNCTIONS
    statements = []
    for signature, body in functions.items():
        if SEEN in body:
            name = signature.partition("(")[0]
            statements += [
                f"CREATE OR REPLACE FUNCTION {signature} {body.replace(SEEN, seen)}",
                f"ALTER FUNCTION {name} SECURITY DEFINER SET search_path = {SEARCH_PATH}",
            ]
    return statements
