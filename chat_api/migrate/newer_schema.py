"""A database newer than this code: a later release of this service has migrated it.

By the rules of sql/README.md, the previous release keeps working on it, so a running process is left alone. A
process that starts may be of any age, so `serve`, `migrate apply` and `migrate rollback` refuse to start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from chat_api.folders import migration_ids

FLAG = "--allow-newer-schema"
"""The option that starts a release on a newer database all the same."""

# yoyo's table may also have rows of another program, whose migrations have other names.
_OURS = re.compile(r"\d{4}\.[a-z0-9]+(-[a-z0-9]+)*")


def newer_migrations(applied: Iterable[str]) -> list[str]:
    """The migrations in `applied` that are this service's but unknown to this release, in order."""
    known = set(migration_ids())
    return sorted(name for name in applied if name not in known and _OURS.fullmatch(name))


def explain_newer(newer: Sequence[str]) -> str:
    """The sentence to show: which migrations are newer, and what can be done."""
    return (
        f"the database is newer than this release: a later one applied {', '.join(newer)}; "
        "use that release, or roll them back with it (its `chat-api migrate rollback`)"
    )


def with_flag(sentence: str) -> str:
    """The sentence of `explain_newer`, for a command that accepts FLAG."""
    return f"{sentence}; where its release notes say that this release works on them, add {FLAG}"
