"""`serve` doesn't start on a database that a later release has migrated: nobody knows whether it would fit.

Asked once, by the process that an operator starts. What it starts itself (workers anew after a crash or
SIGHUP) is not asked again, and a running service isn't stopped: a release's migrations leave the one before
at work (sql/README.md), and whoever migrates ahead of a rolling upgrade must not lose the old workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from chat_api.errors import DatabaseNotMigrated, DatabaseUnavailable
from chat_api.migrate.newer_schema import explain_newer, newer_migrations, with_flag
from chat_api.observe.metrics import Metrics
from chat_api.postgres.database import Database
from chat_api.serving.listeners import ServeError

if TYPE_CHECKING:
    from chat_api.settings import Settings

FIRST_SECONDS = 5  # a database that is away doesn't hold up the start, which is to say so by /api/ready
AGAIN_SECONDS = 2


class SchemaGuard:
    """Looks at the start, and where the database doesn't answer then, until it does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._checked = False

    async def check(self) -> None:
        """The look at the start. Raises ServeError where the database is newer."""
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                self._checked = await self._look()
        except TimeoutError:
            pass  # it is away: `until` goes on

    async def until(self, ending: Coroutine[Any, Any, object]) -> None:
        """Until `ending` is over. Raises ServeError where the database is found to be newer before that."""
        tasks = {
            asyncio.create_task(ending, name="ending"),
            asyncio.create_task(self._refuse(), name="schema"),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _refuse(self) -> None:
        while not self._checked:
            await asyncio.sleep(AGAIN_SECONDS)
            self._checked = await self._look()
        await asyncio.Event().wait()

    async def _look(self) -> bool:
        """Whether the database answered."""
        database = Database(self._settings, Metrics())
        await database.open()
        try:
            rows = await database.rows("maintenance.applied_migrations")
        except DatabaseNotMigrated:
            return True  # /api/ready tells
        except DatabaseUnavailable:
            return False
        finally:
            await database.close()
        if newer := newer_migrations(row["migration_id"] for row in rows):
            raise ServeError(with_flag(explain_newer(newer)))
        return True
