"""The worker: takes a generation, calls its provider, and writes its answer to the log and to PostgreSQL."""
