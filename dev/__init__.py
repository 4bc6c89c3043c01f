"""The one-command run: embedded PostgreSQL and Valkey, migrations, worker and web server, supervised.

run        what `make run` does, in order
token      what `make token` does
launch     what every child goes through: it dies with its parent, and never runs PostgreSQL as uid 0
supervisor programs that are started again when they die
postgres   an embedded PostgreSQL server
valkey     an embedded Valkey server
instance   the directory of one instance: lock, secrets, logs
ready      the proof that a generation runs through
"""
