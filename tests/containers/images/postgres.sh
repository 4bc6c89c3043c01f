#!/bin/sh
# Stands in for the entrypoint of the official image of PostgreSQL: it makes the cluster in an empty volume, runs the
# scripts of docker-entrypoint-initdb.d on the socket only, and then starts the command as the user postgres.
set -eu
export PGDATA=/var/lib/postgresql/18/docker
install -d -o postgres -g postgres /var/lib/postgresql /var/lib/postgresql/18 "$PGDATA" /var/run/postgresql
as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
    chown postgres /tmp/password
    # The arguments are words of their own, as in the official image.
    # shellcheck disable=SC2086
    as_postgres initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-host=scram-sha-256 --auth-local=trust \
        ${POSTGRES_INITDB_ARGS:-}
    rm /tmp/password
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    as_postgres pg_ctl -w -o '-c listen_addresses= -c unix_socket_directories=/var/run/postgresql' start
    for script in /docker-entrypoint-initdb.d/*.sh; do
        as_postgres env PGHOST=/var/run/postgresql sh "$script"
    done
    as_postgres pg_ctl -w -m fast stop
fi
exec setpriv --reuid postgres --regid postgres --clear-groups "$@" -c 'listen_addresses=*' \
    -c unix_socket_directories=/var/run/postgresql
