"""What a migration's file says about the locks that it takes, for those who decide when to run it.

Before its first statement, the file has a line for each existing table that it locks. A test compares these
lines with the locks that PostgreSQL reports:

    -- locks: messages, share update exclusive, reads every row
    -- locks: nothing

Its rollback file may have a line that says what becomes of the data when it is rolled back:

    -- going back: loses the instructions of conversations
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from chat_api.folders import migrations_dir
from chat_api.migrate.local import ROLLBACK
from chat_api.migrate.session import LOCK_TIMEOUT

HINDERS = {
    "row exclusive": "blocks neither reading nor writing, except of the rows that it changes",
    "share update exclusive": "blocks neither reading nor writing",
    "share": "writing waits",
    "share row exclusive": "writing waits",
    "exclusive": "writing waits",
    "access exclusive": "reading and writing wait",
}
"""Table locks that can block others, the weakest first (PostgreSQL documentation, 13.3.1)."""

LASTS = {"a moment": "", "reads every row": "of", "builds an index": "on"}
"""How long a lock is held. If that depends on the table's size, the value is the word before the size."""

_LOCKS = re.compile(r"^-- locks: (.*)$", re.MULTILINE)
_GOING_BACK = re.compile(r"^-- going back: (.*)$", re.MULTILINE)
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
        """What the lock blocks, in words."""
        return HINDERS[self.mode]

    def lasts_with(self, size: str) -> str:
        """How long the lock lasts on a table of that size, in words."""
        return f"{self.lasts} {LASTS[self.lasts]} {size}" if LASTS[self.lasts] else self.lasts


@dataclass(frozen=True, slots=True)
class Demands:
    """What a migration demands of a database that is in use."""

    locks: tuple[TableLock, ...] | None
    """Empty if it locks no existing table; None if its file doesn't say."""
    lock_timeout: str
    """When it stops waiting for a lock, in PostgreSQL's notation: 5s."""
    statement_timeout: str | None
    transactional: bool
    """Whether it takes effect completely or not at all."""
    going_back: str | None
    """What becomes of the data when it is rolled back, where its rollback file says so."""


def read_demands(migration: str, folder: Path | None = None) -> Demands:
    """The demands of the migration with that id, of the release or of a DBA's own in `folder`.

    Raises ValueError if a line is malformed.
    """
    folder = folder or migrations_dir()
    text = (folder / f"{migration}.sql").read_text()
    rollback = folder / f"{migration}{ROLLBACK}"
    going_back = _GOING_BACK.search(rollback.read_text()) if rollback.is_file() else None
    lines = _LOCKS.findall(text)
    return Demands(
        locks=tuple(_lock(migration, line) for line in lines if line != "nothing") if lines else None,
        lock_timeout=_timeout("lock_timeout", text) or LOCK_TIMEOUT,
        statement_timeout=_timeout("statement_timeout", text),
        transactional="-- transactional: false\n" not in text,
        going_back=going_back[1] if going_back else None,
    )


def _lock(migration: str, line: str) -> TableLock:
    match line.split(", "):
        case [table, mode, lasts] if mode in HINDERS and lasts in LASTS:
            return TableLock(table, mode, lasts)
    allowed = f"a table, one of {', '.join(HINDERS)}, and one of {', '.join(LASTS)}"
    raise ValueError(f"{migration}.sql: `-- locks: {line}` must name {allowed}")


def _timeout(name: str, text: str) -> str | None:
    found = re.search(_TIMEOUT.format(name), text, re.MULTILINE)
    return found[1] if found else None
