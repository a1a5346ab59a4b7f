"""What the owner of the tables does by hand, with statements that the service has no right to.

They aren't in `sql/`, whose statements the service sends, but beside the command that runs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from chat_api.commands.errors import FailedError
from chat_api.commands.session import connected
from chat_api.settings import load_settings

_OWNER = Path(__file__).with_name("owner.sql")


class Table:
    """A table that only its owner changes. `folder` has the statements, a file each."""

    def __init__(self, connection: psycopg.Connection[Any], name: str, folder: Path) -> None:
        self._connection = connection
        self._name = name
        self._folder = folder

    def run(self, statement: str, **parameters: Any) -> list[DictRow]:
        """All rows of a statement."""
        return self._rows(self._folder / f"{statement}.sql", parameters)

    def require(self) -> DictRow:
        """Who owns it. Raises FailedError if it isn't there, or this role can't see it."""
        rows = self._rows(_OWNER, {"name": self._name})
        if not rows:
            raise FailedError(
                f"there is no table {self._name} here, or this role can't see it: run `chat-api migrate`, "
                "and use the DATABASE_URL of the tables' owner"
            )
        return rows[0]

    def require_owner(self, does: str) -> None:
        """Raises FailedError unless this role owns the table. `does`: what only its owner does."""
        table = self.require()
        if not table["is_owner"]:
            raise FailedError(
                f"only the owner of the tables, {table['owner']}, {does}, and this is "
                f"{table['role']}: use the owner's DATABASE_URL"
            )

    def _rows(self, path: Path, parameters: dict[str, Any]) -> list[DictRow]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(path.read_bytes(), parameters).fetchall()


@contextmanager
def owned(name: str, folder: Path, application: str) -> Iterator[Table]:
    """Open a session, seen as `application`, whose times are in UTC.

    Raises FailedError if the database refuses something in the block.
    """
    with connected(load_settings().database_url, application) as connection:
        connection.execute("set timezone to 'UTC'")
        yield Table(connection, name, folder)
