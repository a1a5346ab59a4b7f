"""A DBA's own migrations: the files of MIGRATIONS_DIR, named as no release names its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from chat_api.settings import SettingsError

_FORM = re.compile(r"local-\d{4}\.[a-z0-9]+(-[a-z0-9]+)*")
_TRANSACTIONAL = re.compile(r"^\s*--\s*transactional\s*:\s*(.*?)\s*$", re.MULTILINE)
_RUN = (".sql", ".py")
_NAME = r'(?:"[^"]+"|[\w$]+)'
_BUILDS = re.compile(
    rf"\bcreate\s+(?:unique\s+)?index\s+concurrently\s+if\s+not\s+exists\s+({_NAME}(?:\.{_NAME})?)", re.I
)
_HALF_BUILT = """
select format('drop index concurrently if exists %%s', i.indexrelid::regclass)
from pg_index as i
where
    i.indexrelid = to_regclass(%s)
    and not i.indisvalid
    and not exists (select from pg_stat_progress_create_index as p where p.index_relid = i.indexrelid)
"""
ROLLBACK = ".rollback.sql"


def is_local(name: str) -> bool:
    """Whether a migration of that id is a DBA's own."""
    return bool(_FORM.fullmatch(name))


def local_migrations(folder: str) -> list[str]:
    """The ids of the migrations in this folder, in order; none without a folder.

    Raises:
        SettingsError: the folder can't be used. The text has a line for each file that is in the way.
    """
    if not folder:
        return []
    try:
        files = sorted(path for path in Path(folder).iterdir() if _is_meant(path))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no path has such a character"
        raise SettingsError(f"MIGRATIONS_DIR {folder}: can't be read: {reason}") from error
    names = {path.name for path in files}
    problems = [problem for path in files for problem in _problems(path, names)]
    if problems:
        raise SettingsError("\n".join(f"MIGRATIONS_DIR: {each}" for each in problems))
    return [path.stem for path in files if not path.name.endswith(ROLLBACK)]


def _is_meant(path: Path) -> bool:
    """Whether somebody means it for a migration. An editor's files beside it, and a README, aren't."""
    if path.name.startswith(".") or path.name.endswith(("~", ".bak", ".orig", ".rej", ".swp")):
        return False
    return path.suffix.lower() in _RUN or path.name.startswith("local-")


def can_go_back(folder: str, name: str) -> bool:
    """Whether the migration of that id has a rollback file."""
    return (Path(folder) / f"{name}{ROLLBACK}").is_file()


def drop_half_built(connection: psycopg.Connection[Any], folder: str, name: str) -> None:
    """Drop what a broken-off run of that migration left of the indexes that it builds.

    A build that is broken off leaves an invalid index, which `if not exists` would take for the whole one.
    """
    text = re.sub("--.*", "", (Path(folder) / f"{name}.sql").read_text())
    for index in _BUILDS.findall(text):
        for (statement,) in connection.execute(_HALF_BUILT, (index,)).fetchall():
            connection.execute(statement)


def _problems(path: Path, names: set[str]) -> Iterator[str]:
    name = path.name.removesuffix(ROLLBACK).removesuffix(".sql")
    if path.suffix != ".sql" or not is_local(name):
        yield (
            f"{path}: must be named as local-0001.add-mood.sql is: local-, four digits, and a name in lower "
            "case; other names are the releases'"
        )
        return
    if f"{name}.sql" not in names:
        yield f"{path}: there is no {name}.sql that it could roll back"
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        yield f"{path}: can't be read: {error.strerror}"
        return
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        yield f"{path}:{line}: must be UTF-8 text, which this line isn't"
        return
    for said in _TRANSACTIONAL.finditer(text):
        if said[1].lower() not in ("true", "false"):
            line = text.count("\n", 0, said.start(1)) + 1
            yield f"{path}:{line}: transactional must be true or false, not {said[1]!r}"
