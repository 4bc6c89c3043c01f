"""The worker: takes a generation, calls its provider, and writes what it says to the log and to PostgreSQL."""
