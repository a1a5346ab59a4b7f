"""The operator's files, read anew on SIGHUP: MODELS_FILE, and the queries of SQL_DIR."""

from __future__ import annotations

import asyncio
import signal

from aiohttp import web

from chat_api.background import Background
from chat_api.http.context import DATABASE, INFERENCE, SETTINGS


class Files(Background):
    """Has a single process read its files anew on each SIGHUP. A file with a mistake changes nothing."""

    def __init__(self, app: web.Application) -> None:
        super().__init__("files")
        self._settings = app[SETTINGS]
        self._database = app[DATABASE]
        self._inference = app[INFERENCE]
        self._wanted = asyncio.Event()

    def open(self) -> None:
        """Listen for SIGHUP."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._wanted.set)
        super().open()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if self._settings.models_file:
                self._inference.reload()
            if self._settings.sql_dir:
                await self._database.reread()
