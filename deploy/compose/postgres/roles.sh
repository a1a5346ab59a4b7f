#!/bin/sh
# Run once, by PostgreSQL's image, when it makes the database: the role that the service runs as. `chat`, whose the tables
# are, migrates, and gives it its rights (SERVICE_ROLE).
set -eu

psql --set ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set password="$SERVICE_PASSWORD" <<'SQL'
create role chat_service login password :'password';
SQL
