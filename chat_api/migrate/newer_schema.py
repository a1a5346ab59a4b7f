"""A database newer than this code: a later release of this service has migrated it.

By the rules of sql/README.md the release before goes on working on it, so a process that runs is left
alone. One that starts may be of any age, and is refused: `serve`, `migrate apply` and `rollback`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from chat_api.folders import migration_ids

FLAG = "--allow-newer-schema"
"""What starts a release on a newer database all the same."""

# yoyo's table may have the rows of another program too, whose migrations are called otherwise.
_OURS = re.compile(r"\d{4}\.[a-z0-9]+(-[a-z0-9]+)*")


def newer_migrations(applied: Iterable[str]) -> list[str]:
    """Those of `applied` that are this service's and that this code doesn't know, in order."""
    known = set(migration_ids())
    return sorted(name for name in applied if name not in known and _OURS.fullmatch(name))


def explain_newer(newer: Sequence[str]) -> str:
    """The sentence to show: which migrations, and what can be done."""
    return (
        f"the database is newer than this release: a later one applied {', '.join(newer)}; "
        "use that release, or take them back with it (its `chat-api migrate rollback`)"
    )


def with_flag(sentence: str) -> str:
    """What `explain_newer` says, for a command that takes FLAG."""
    return f"{sentence}; where its release notes say that this release works on them, add {FLAG}"
