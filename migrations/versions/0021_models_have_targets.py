"""A model may name several targets, and a generation the target that was called last.

Earlier releases write and read the first target of a model as its provider and its upstream name.
"""

from migrations.online import quickly

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

CONFIGURATION = """
CREATE OR REPLACE FUNCTION model_configuration(m models) RETURNS jsonb LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT jsonb_build_object('provider', m.provider, 'upstream_name', m.upstream_name,
        'system_prompt', m.system_prompt, 'parameters', m.parameters, 'on_interruption', m.on_interruption,
        'tools', m.tools{targets})
$$;
"""


def upgrade() -> None:
    # NULL: one target, which is provider and upstream_name. NULL of a generation: the first target.
    quickly("ALTER TABLE models ADD COLUMN targets jsonb; ALTER TABLE generations ADD COLUMN target text;")
    quickly(CONFIGURATION.replace("{targets}", ", 'targets', m.targets"))


def downgrade() -> None:
    quickly(CONFIGURATION.replace("{targets}", ""))
    quickly("ALTER TABLE models DROP COLUMN targets; ALTER TABLE generations DROP COLUMN target;")
