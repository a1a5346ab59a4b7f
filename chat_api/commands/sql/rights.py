"""What the role of DATABASE_URL may do, and the statement that gives it what it lacks."""

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
        """The schema, where this role sees none of its tables."""
        if self.is_open:
            return []
        problem = f"is closed to {self.role}, who sees none of its tables"
        return [Finding("schema", self.schema, problem, f"{self.opening} -- as {self.owner}")]

    @property
    def remedy(self) -> str | None:
        """What gives this role every right that the queries want; None before it is migrated."""
        return None if self.granting is None else f"{self.granting} -- as {self.owner}"


def read_rights(connection: psycopg.Connection[Any]) -> Rights | None:
    """None where there are no tables of the service."""
    with connection.cursor(row_factory=class_row(Rights)) as cursor:
        return cursor.execute((FOLDER / "rights.sql").read_bytes()).fetchone()
