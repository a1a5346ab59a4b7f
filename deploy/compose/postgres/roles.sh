#!/bin/sh
# PostgreSQL's image runs this once, when it creates the database: it creates the role that the service runs as. `chat`, which
# owns the tables, migrates and grants that role its rights (SERVICE_ROLE).
set -eu

psql --set ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set password="$SERVICE_PASSWORD" <<'SQL'
create role chat_service login password :'password';
SQL
