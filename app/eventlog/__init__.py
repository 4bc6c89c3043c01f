"""Redis: a log that can be rebuilt, and a loudspeaker. What must be true is in PostgreSQL."""
