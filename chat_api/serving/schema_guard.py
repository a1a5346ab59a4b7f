"""`serve` doesn't start on a database that isn't UTF8, or that a later release has migrated: it may not fit.

Nor does it start with a query that the database refuses though everything is migrated.

The process that an operator starts checks this once. After SIGHUP, the first new worker checks the queries.
Workers that are started again after a crash don't check, and a running service isn't stopped. The previous
release keeps working on a release's migrations (sql/README.md), and a rolling upgrade, which migrates first,
must not lose the old workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from chat_api.errors import DatabaseNotMigrated, DatabaseUnavailable
from chat_api.folders import migration_ids
from chat_api.migrate.newer_schema import explain_newer, newer_migrations, with_flag
from chat_api.observe.metrics import Metrics
from chat_api.postgres.database import Database
from chat_api.postgres.encoding import ENCODING_REMEDY, WrongEncoding
from chat_api.serving.listeners import ServeError

if TYPE_CHECKING:
    from chat_api.settings import Settings

FIRST_SECONDS = 5  # an unavailable database doesn't delay the start; /api/ready reports it
AGAIN_SECONDS = 2


class SchemaGuard:
    """Checks the schema and the queries at the start.

    If the database doesn't respond then, checks again until it does.
    """

    def __init__(self, settings: Settings, *, allows_newer: bool = False) -> None:
        """`allows_newer` lets a database pass that a later release has migrated."""
        self._settings = settings
        self._allows_newer = allows_newer
        self._checked = False

    async def check(self) -> None:
        """Check the schema at the start.

        Raises ServeError if the database is newer, or isn't UTF8, and SettingsError if a query doesn't fit.
        """
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                self._checked = await self._look()
        except TimeoutError:
            pass  # the database is unavailable: `watch_until` checks again

    async def watch_until(self, ending: Coroutine[Any, Any, object]) -> None:
        """Wait until `ending` has ended. Raises ServeError if the database is found to be newer first."""
        tasks = {
            asyncio.create_task(ending, name="ending"),
            asyncio.create_task(self._keep_checking(), name="schema"),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_checking(self) -> None:
        while not self._checked:
            await asyncio.sleep(AGAIN_SECONDS)
            self._checked = await self._look()
        await asyncio.Event().wait()

    async def _look(self) -> bool:
        """Check the schema. Returns whether the database responded.

        Raises ServeError if it doesn't fit, and SettingsError if a query doesn't fit it.
        """
        database = Database(self._settings, Metrics())
        try:
            is_checked = await database.check()
            rows = await database.rows("maintenance.applied_migrations")
            applied = {row["migration_id"] for row in rows}
            if (newer := newer_migrations(applied)) and not self._allows_newer:
                raise ServeError(with_flag(explain_newer(newer)))
            # With migrations pending, /api/ready reports these, and no query can be blamed.
            if applied.issuperset(migration_ids()):
                is_checked = await database.check_packaged() and is_checked
            return is_checked
        except DatabaseNotMigrated as error:
            if isinstance(error.__cause__, WrongEncoding):
                raise ServeError(f"{error.__cause__}: {ENCODING_REMEDY}") from error
            return True  # /api/ready reports it
        except DatabaseUnavailable:
            return False
        finally:
            await database.close()
