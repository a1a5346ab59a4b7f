"""Writes down the schema that the migrations make: `make schema`.

chat_api/commands/sql/schema.tsv is for `chat-api sql check`, and sql/schema.sql is for people to read.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from chat_api.commands.session import connected
from chat_api.commands.sql.schema import EXPECTED, as_text, read_schema
from chat_api.dev.postgres.server import Postgres
from chat_api.folders import SCHEMA_FILE, sql_dir
from chat_api.migrate.apply import apply_migrations
from tools.schema_file import written_out


def main() -> None:
    """Migrate a new database, and write down what it then contains."""
    with tempfile.TemporaryDirectory(prefix="chat-api-schema-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may have to run as another user
        with Postgres(Path(folder) / "data", settings={"fsync": "off"}) as server:
            apply_migrations(server.dsn())
            with connected(server.dsn()) as connection:
                EXPECTED.write_text(as_text(read_schema(connection)))
            (sql_dir() / SCHEMA_FILE).write_text(written_out(server.dsn()))


if __name__ == "__main__":
    main()
