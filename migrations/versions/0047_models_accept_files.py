"""A model's configuration may name the inputs that it takes, such as images."""

from migrations.online import quickly

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None

CONFIGURATION = """
CREATE OR REPLACE FUNCTION model_configuration(m models) RETURNS jsonb LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT jsonb_build_object('provider', m.provider, 'upstream_name', m.upstream_name,
        'system_prompt', m.system_prompt, 'parameters', m.parameters, 'on_interruption', m.on_interruption,
        'tools', m.tools, 'targets', m.targets{accepts})
$$;
"""


def upgrade() -> None:
    # NULL: what the kinds of its upstreams take.
    quickly("ALTER TABLE models ADD COLUMN accepts jsonb;")
    quickly(CONFIGURATION.replace("{accepts}", ", 'accepts', m.accepts"))


def downgrade() -> None:
    quickly(CONFIGURATION.replace("{accepts}", ""))
    quickly("ALTER TABLE models DROP COLUMN accepts;")
