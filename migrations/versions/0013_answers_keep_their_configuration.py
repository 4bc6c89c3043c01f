"""A generation names the version of the model's configuration under which it was accepted.

A trigger writes the versions, so that an earlier release makes one too, and so does a statement of an operator.
"""

from migrations.online import quickly

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# A version has the fields that an answer is made with. Label, description, price and `enabled` are no part of it.
VERSIONS = """
CREATE TABLE model_versions (
    version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    configuration jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX model_versions_of_model ON model_versions (name, version DESC);
GRANT SELECT ON model_versions TO unbroken_app;
GRANT SELECT, INSERT ON model_versions TO unbroken_system;

CREATE FUNCTION model_configuration(m models) RETURNS jsonb LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT jsonb_build_object('provider', m.provider, 'upstream_name', m.upstream_name,
        'system_prompt', m.system_prompt, 'parameters', m.parameters, 'on_interruption', m.on_interruption,
        'tools', m.tools)
$$;
CREATE FUNCTION keep_model_version() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' OR model_configuration(NEW) <> model_configuration(OLD) THEN
        INSERT INTO model_versions (name, configuration) VALUES (NEW.name, model_configuration(NEW));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER keep_version AFTER INSERT OR UPDATE ON models FOR EACH ROW EXECUTE FUNCTION keep_model_version();
INSERT INTO model_versions (name, configuration) SELECT m.name, model_configuration(m) FROM models m;

-- 0: the name had no configuration and was passed on as it was. NULL: an earlier release accepted the answer.
ALTER TABLE generations ADD COLUMN model_version bigint;
"""


def upgrade() -> None:
    quickly(VERSIONS)


def downgrade() -> None:
    quickly("""
        ALTER TABLE generations DROP COLUMN model_version;
        DROP TRIGGER keep_version ON models;
        DROP FUNCTION keep_model_version();
        DROP FUNCTION model_configuration(models);
        DROP TABLE model_versions;
    """)
