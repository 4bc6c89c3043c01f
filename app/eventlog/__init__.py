"""Redis: event logs that can be rebuilt, and messages to readers. PostgreSQL has what must not be lost."""
