"""What the role of DATABASE_URL may do, and the statement that grants what it lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from chat_api.commands.sql.schema import FOLDER, Finding


@dataclass(frozen=True, slots=True)
class Rights:
    """A row of rights.sql."""

    role: str
    schema: str
    owner: str
    is_open: bool
    opening: str
    sees_migrations: bool
    granting: str | None

    @property
    def closed(self) -> list[Finding]:
        """A finding for the schema, if this role can't see its tables."""
        if self.is_open:
            return []
        problem = f"is closed to {self.role}, which can't see its tables"
        return [Finding("schema", self.schema, problem, f"{self.opening} -- as {self.owner}")]

    @property
    def remedy(self) -> str | None:
        """The statement that grants this role all rights that the queries need; None before the migration."""
        return None if self.granting is None else f"{self.granting} -- as {self.owner}"


def read_rights(connection: psycopg.Connection[Any]) -> Rights | None:
    """Read the rights of the connection's role. None if the service has no tables here."""
    with connection.cursor(row_factory=class_row(Rights)) as cursor:
        return cursor.execute((FOLDER / "rights.sql").read_bytes()).fetchone()
