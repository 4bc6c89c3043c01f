#!/bin/sh
# Run once by the postgres image, when its volume is empty: a database for the application, and a role to own
# it that is no superuser, because row-level security does not hold for one. It may create roles, as the
# migrations make two, which cannot log in.
set -eu

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv password DATABASE_PASSWORD
CREATE ROLE unbroken LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE unbroken OWNER unbroken;
SQL
