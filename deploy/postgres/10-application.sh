#!/bin/sh
# Run once by the postgres image, when its volume is empty: a database for the application, and its owner, which only
# the service `migrate` logs in as. It is no superuser and may create roles: the migrations make those that cannot log
# in, and `migrate` the logins of web processes and workers.
set -eu

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv password DATABASE_PASSWORD
CREATE ROLE unbroken LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE unbroken OWNER unbroken;
SQL
