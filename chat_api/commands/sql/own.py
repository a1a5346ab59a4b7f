"""A DBA's own queries beside the packaged ones: copy one, show the difference, check that they fit."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path

from chat_api.commands.errors import FailedError, MisusedError
from chat_api.commands.sql.catalog import NamedQuery, find, read_catalog
from chat_api.commands.sql.schema import Finding
from chat_api.errors import describe
from chat_api.observe.metrics import Metrics
from chat_api.postgres.database import UNREACHABLE, Database
from chat_api.postgres.queries import load_queries, outdated
from chat_api.postgres.query_check import Misfit
from chat_api.settings import Settings

NO_FOLDER = "set SQL_DIR to the folder of your own queries first"


def copy(name: str, own: str) -> NamedQuery:
    """Append a packaged query to the file of its name in the folder `own`. Returns the copy.

    Raises:
        MisusedError: no folder is set, there is no such query, or the folder already has it.
        FailedError: the file can't be written.
        SettingsError: a file of the folder can't be used.
    """
    if not own:
        raise MisusedError(NO_FOLDER)
    packaged, there = find(name), read_catalog(own).get(name)
    if there is not None and there.sent.is_own:
        raise MisusedError(f"{there.place}: {name} is there already; edit that")
    path = Path(own) / packaged.path.name
    head, rest = packaged.text.split("\n", 1)
    try:
        before = path.read_text() if path.exists() else ""
        with path.open("a") as file:
            gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
            file.write(f"{gap}{head}\n-- copy of: {packaged.sent.fingerprint}\n{rest}\n")
    except OSError as error:
        raise FailedError(f"{path} can't be written: {error.strerror}") from error
    return find(name, own)


def differences(own: str, name: str | None) -> dict[str, str]:
    """The unified diff from each packaged query, or from that one, to the own one; by name.

    Raises:
        MisusedError: there is no such query, or it is the packaged one.
        SettingsError: a file of the folder can't be used.
    """
    queries = {query.name: query for query in read_catalog(own).values() if query.sent.is_own}
    if name is not None:
        query = find(name, own)
        if not query.sent.is_own:
            raise MisusedError(f"{name} is the packaged one; `chat-api sql copy {name}` begins an own one")
        queries = {name: query}
    packaged = read_catalog()
    return {each: _difference(packaged[each], query) for each, query in queries.items()}


def _difference(packaged: NamedQuery, own: NamedQuery) -> str:
    lines = difflib.unified_diff(
        packaged.text.splitlines(), _without_mark(own.text), packaged.place, own.place, lineterm=""
    )
    return "".join(f"{line}\n" for line in lines)


def _without_mark(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("-- copy of: ")]


def check_own(settings: Settings, catalog: Mapping[str, NamedQuery], refused: set[str]) -> Iterator[Finding]:
    """How own queries differ from the packaged ones in parameters and columns, and which are outdated.

    Those in `refused` have been reported. Raises FailedError if the database can't be reached.
    """
    own = {name: query for name, query in catalog.items() if query.sent.is_own}
    for misfit in asyncio.run(_misfits(settings)) if own else ():
        if misfit.name not in refused:
            yield Finding("query", misfit.name, f"{misfit.problem} ({misfit.place})")
    changed = outdated(load_queries(settings.sql_dir))
    packaged = load_queries()
    for name, query in own.items():
        mark = f"-- copy of: {packaged[name].fingerprint}"
        block = query.sent.block
        if name in changed:
            yield Finding(
                "query",
                name,
                f"has changed in this release since the own one was copied ({query.place})",
                f"chat-api sql diff {name}; take over what is new, then write `{mark}` below its first line",
            )
        elif block is not None and block.copied is None:
            yield Finding(
                "query",
                name,
                f"doesn't say of what it is a copy, so that no upgrade can be told ({query.place})",
                f"write `{mark}` below its first line",
            )


async def _misfits(settings: Settings) -> list[Misfit]:
    database = Database(settings, Metrics())
    try:
        return await database.misfits()
    except UNREACHABLE as error:
        raise FailedError(f"the own queries can't be checked: {describe(error)}") from error
    finally:
        await database.close()
