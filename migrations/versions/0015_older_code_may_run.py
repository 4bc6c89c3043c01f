"""The schema names the oldest code that may run on it; triggers keep the words of messages in every installation."""

from importlib import import_module

from migrations.online import online, quickly

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# Code that knows minimum_code_revision may run, also where it does not know the revision of the schema.
# A migration that earlier code cannot bear calls require_code of migrations/online.py.
SCHEMA_INFO = """
CREATE TABLE schema_info (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    minimum_code_revision text NOT NULL
);
INSERT INTO schema_info (minimum_code_revision) VALUES ('0015');
GRANT SELECT ON schema_info TO unbroken_app, unbroken_system;
"""

# Releases before 0015 made generated columns in 0005. Their values stay; triggers compute new ones.
GENERATED = """
ALTER TABLE messages ALTER COLUMN search DROP EXPRESSION IF EXISTS;
ALTER TABLE conversations ALTER COLUMN search DROP EXPRESSION IF EXISTS;
"""


def upgrade() -> None:
    words = import_module("migrations.versions.0005_search_usage_models")
    with online() as steps:
        steps.change(words.COLUMNS)
    quickly(GENERATED + words.OF_MESSAGES + words.OF_CONVERSATIONS)
    quickly(SCHEMA_INFO)


def downgrade() -> None:
    """Keep the triggers: code of revision 0014 finds the words in the columns, also those that a trigger put there."""
    quickly("DROP TABLE schema_info")
