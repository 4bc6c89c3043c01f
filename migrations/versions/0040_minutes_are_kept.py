"""A row for each minute of the service: counts, histograms and sampled gauges, for the plots of operators."""

from migrations.definer import create_definers, drop_functions
from migrations.online import quickly

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

# Counts are of the whole minute, gauges of a moment after it; NULL where nothing was sampled. A histogram is an object
# with the number of values in each of its buckets (app/domain/histogram.py).
TABLE = """
CREATE TABLE service_minutes (
    minute timestamptz PRIMARY KEY CHECK (minute = date_trunc('minute', minute)),
    started integer NOT NULL,
    completed integer NOT NULL,
    failed integer NOT NULL,
    cancelled integer NOT NULL,
    takeovers integer NOT NULL,
    failovers integer NOT NULL,
    errors jsonb NOT NULL,
    first_token jsonb NOT NULL,
    total jsonb NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    waiting integer,
    running integer,
    slots integer,
    streams_open integer,
    webhooks_waiting integer
);
GRANT SELECT ON service_minutes TO unbroken_operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON service_minutes TO unbroken_system;
"""

ENDED = "g.status IN ('completed', 'error', 'cancelled')"


def bucket(begin: str, end: str) -> str:
    """The histogram's bucket of the time between two columns, in milliseconds."""
    milliseconds = f"1000 * CAST(extract(epoch FROM {end} - {begin}) AS float8)"
    # greatest() leaves NULL out: without an end there is no bucket.
    return (
        f"CASE WHEN {end} IS NOT NULL THEN CAST(floor(4 * ln(greatest(1.0, {milliseconds})) / ln(2.0)) AS integer) END"
    )


def tokens(name: str) -> str:
    """A count of the usage. A provider may have reported anything: one that is no sane number counts as none."""
    return f"""CASE WHEN jsonb_typeof(g.usage -> '{name}') = 'number'
                    THEN CAST(greatest(0, least(CAST(g.usage ->> '{name}' AS numeric), 1e12)) AS bigint) END"""


# The counts of the minutes from ``since`` up to ``until``, both at the full minute. ``first`` and ``last`` are ids
# below and above those of the rows accepted in that time. A takeover or failover counts in its own minute: it is found
# in the rows that live, and in those that ended within ``life`` after ``until``.
FOR_OPERATORS = {
    """count_minutes(since timestamptz, until timestamptz, first uuid, last uuid, life interval)""": f"""
        RETURNS TABLE (minute timestamptz, started bigint, completed bigint, failed bigint, cancelled bigint,
            takeovers bigint, failovers bigint, errors jsonb, first_token jsonb, total jsonb, input_tokens bigint,
            output_tokens bigint) LANGUAGE sql STABLE AS $$
        WITH accepted AS (
            SELECT date_trunc('minute', g.created_at) AS minute, count(*) AS many FROM generations g
            WHERE g.id >= first AND g.id < last AND g.created_at >= since AND g.created_at < until GROUP BY 1
        ), ended AS MATERIALIZED (
            SELECT date_trunc('minute', g.finished_at) AS minute, g.status, g.error ->> 'code' AS code,
                {bucket("g.created_at", "g.first_token_at")} AS first_token,
                {bucket("g.created_at", "g.finished_at")} AS total,
                {tokens("input_tokens")} AS input_tokens, {tokens("output_tokens")} AS output_tokens
            FROM generations g WHERE {ENDED} AND g.finished_at >= since AND g.finished_at < until
        ), ends AS (
            SELECT e.minute, count(*) FILTER (WHERE e.status = 'completed') AS completed,
                count(*) FILTER (WHERE e.status = 'error') AS failed,
                count(*) FILTER (WHERE e.status = 'cancelled') AS cancelled,
                sum(e.input_tokens) AS input_tokens, sum(e.output_tokens) AS output_tokens
            FROM ended e GROUP BY 1
        ), codes AS (
            SELECT c.minute, jsonb_object_agg(c.code, c.many) AS errors FROM (
                SELECT e.minute, coalesce(e.code, 'unknown') AS code, count(*) AS many FROM ended e
                WHERE e.status = 'error' GROUP BY 1, 2) c GROUP BY 1
        ), firsts AS (
            SELECT b.minute, jsonb_object_agg(b.first_token, b.many) AS buckets FROM (
                SELECT e.minute, e.first_token, count(*) AS many FROM ended e
                WHERE e.first_token IS NOT NULL GROUP BY 1, 2) b GROUP BY 1
        ), totals AS (
            SELECT b.minute, jsonb_object_agg(b.total, b.many) AS buckets FROM (
                SELECT e.minute, e.total, count(*) AS many FROM ended e
                WHERE e.status = 'completed' GROUP BY 1, 2) b GROUP BY 1
        ), moments AS (
            SELECT date_trunc('minute', to_timestamp(CAST(m.moment ->> 'at' AS float8))) AS minute,
                count(*) FILTER (WHERE m.moment ->> 'what' = 'takeover') AS takeovers,
                count(*) FILTER (WHERE m.moment ->> 'what' = 'target') AS failovers
            FROM (
                SELECT g.moments FROM generations g
                WHERE {ENDED} AND g.finished_at >= since AND g.finished_at < until + life
                    AND g.moments IS NOT NULL
                UNION ALL
                SELECT g.moments FROM generations g
                WHERE g.status IN ('queued', 'running') AND g.moments IS NOT NULL
            ) g, jsonb_array_elements(g.moments) AS m(moment) GROUP BY 1
        )
        SELECT m.minute, coalesce(a.many, 0), coalesce(e.completed, 0), coalesce(e.failed, 0), coalesce(e.cancelled, 0),
            coalesce(o.takeovers, 0), coalesce(o.failovers, 0), coalesce(c.errors, '{{}}'), coalesce(f.buckets, '{{}}'),
            coalesce(t.buckets, '{{}}'), CAST(coalesce(e.input_tokens, 0) AS bigint),
            CAST(coalesce(e.output_tokens, 0) AS bigint)
        FROM generate_series(since, until - interval '1 minute', interval '1 minute') AS m(minute)
            LEFT JOIN accepted a USING (minute) LEFT JOIN ends e USING (minute) LEFT JOIN codes c USING (minute)
            LEFT JOIN firsts f USING (minute) LEFT JOIN totals t USING (minute) LEFT JOIN moments o USING (minute)
        $$""",
}


def upgrade() -> None:
    quickly(TABLE, *create_definers(FOR_OPERATORS, "unbroken_operator", "unbroken_system"))


def downgrade() -> None:
    quickly(*drop_functions(FOR_OPERATORS), "DROP TABLE service_minutes")
