"""The real Prometheus, scraping a service."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from chat_api.dev.tether import tethered
from tests.deploy.nginx.server import program
from tests.support.processes import SECONDS, free_port, until

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "grafana" / "alerts" / "chat-api.rules.yml"


class Prometheus:
    """Scrapes a port of this machine as the job chat-api, and evaluates the alerts, once a second."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._port = free_port()
        self._program = program("prometheus")

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="chat-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        config = folder / "prometheus.yml"
        config.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(RULES)],
                    "scrape_configs": [
                        {
                            "job_name": "chat-api",
                            "static_configs": [{"targets": [f"127.0.0.1:{self._target}"]}],
                        }
                    ],
                }
            )
        )
        command = [
            self._program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=error",
        ]
        self._process = await asyncio.create_subprocess_exec(
            *tethered(command, signal.SIGKILL), cwd=folder, stdin=subprocess.DEVNULL
        )
        self._session = aiohttp.ClientSession(f"http://127.0.0.1:{self._port}")
        try:
            await until(self._scraped)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        self._process.terminate()
        async with asyncio.timeout(SECONDS):
            await self._process.wait()
        self._folder.cleanup()

    async def query(self, expression: str) -> list[Any]:
        """The current value of an expression, which must be valid."""
        answer = await self._get("/api/v1/query", query=expression)
        assert answer["status"] == "success", (expression, answer)
        result: list[Any] = answer["data"]["result"]
        return result

    async def rules(self) -> list[dict[str, Any]]:
        """The alerts with their health, once each has been evaluated."""

        async def evaluated() -> list[dict[str, Any]]:
            groups = (await self._get("/api/v1/rules"))["data"]["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            return rules if all(rule["health"] != "unknown" for rule in rules) else []

        found: list[dict[str, Any]] = await until(evaluated)
        return found

    async def _scraped(self) -> bool:
        try:
            async with self._session.get("/-/ready") as response:
                if response.status != 200:
                    return False
        except aiohttp.ClientConnectionError:
            return False  # not listening yet
        return bool(await self.query('up{job="chat-api"} == 1'))

    async def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        async with self._session.get(path, params=parameters) as response:
            answer: dict[str, Any] = await response.json()
            return answer
