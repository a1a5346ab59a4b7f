"""What a migration's file says of the locks that it takes, for those who decide when to run it.

A line for each table that was there before, ahead of the first statement; a test compares the lines with the
locks that PostgreSQL shows:

    -- locks: messages, share update exclusive, reads every row
    -- locks: nothing
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chat_api.folders import migrations_dir

HINDERS = {
    "row exclusive": "hinders neither reading nor writing, but of the rows that it changes",
    "share update exclusive": "hinders neither reading nor writing",
    "share": "writing waits",
    "share row exclusive": "writing waits",
    "exclusive": "writing waits",
    "access exclusive": "reading and writing wait",
}
"""Table locks that can be in somebody's way, the weakest first (PostgreSQL documentation, 13.3.1)."""

LASTS = {"a moment": "", "reads every row": "of", "builds an index": "on"}
"""How long a lock is held; where that grows with the table, the word before its size."""

_LOCKS = re.compile(r"^-- locks: (.*)$", re.MULTILINE)
_TIMEOUT = "^set (?:local )?{} = '(.*)';$"


@dataclass(frozen=True, slots=True)
class TableLock:
    """A lock on a table that exists before the migration."""

    table: str
    mode: str
    """A key of HINDERS."""
    lasts: str
    """A key of LASTS."""

    @property
    def hinders(self) -> str:
        """Who waits meanwhile, in words."""
        return HINDERS[self.mode]

    def lasts_with(self, size: str) -> str:
        """How long it lasts on a table of that size, in words."""
        return f"{self.lasts} {LASTS[self.lasts]} {size}" if LASTS[self.lasts] else self.lasts


@dataclass(frozen=True, slots=True)
class Demands:
    """What a migration asks of a database at work."""

    locks: tuple[TableLock, ...] | None
    """Empty: it touches nothing that was there before. None: its file doesn't say."""
    lock_timeout: str | None
    """When it stops waiting for a lock, as PostgreSQL writes it: 5s."""
    statement_timeout: str | None
    transactional: bool
    """Whether all of it happens or nothing."""


def read_demands(migration: str) -> Demands:
    """The demands of the migration with that id. Raises ValueError where a line can't be read."""
    text = (migrations_dir() / f"{migration}.sql").read_text()
    lines = _LOCKS.findall(text)
    return Demands(
        locks=tuple(_lock(migration, line) for line in lines if line != "nothing") if lines else None,
        lock_timeout=_timeout("lock_timeout", text),
        statement_timeout=_timeout("statement_timeout", text),
        transactional="-- transactional: false\n" not in text,
    )


def _lock(migration: str, line: str) -> TableLock:
    match line.split(", "):
        case [table, mode, lasts] if mode in HINDERS and lasts in LASTS:
            return TableLock(table, mode, lasts)
    allowed = f"a table, one of {', '.join(HINDERS)}, and one of {', '.join(LASTS)}"
    raise ValueError(f"{migration}.sql: `-- locks: {line}` is not {allowed}")


def _timeout(name: str, text: str) -> str | None:
    found = re.search(_TIMEOUT.format(name), text, re.MULTILINE)
    return found[1] if found else None
