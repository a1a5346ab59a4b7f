"""`make schema`: write chat_api/commands/sql/schema.tsv, the schema that the migrations make."""

from __future__ import annotations

import tempfile
from pathlib import Path

from chat_api.commands.session import connected
from chat_api.commands.sql.schema import EXPECTED, as_text, read_schema
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="chat-api-schema-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may have to run as another user
        with Postgres(Path(folder) / "data", settings={"fsync": "off"}) as server:
            apply_migrations(server.dsn())
            with connected(server.dsn()) as connection:
                EXPECTED.write_text(as_text(read_schema(connection)))


if __name__ == "__main__":
    main()
