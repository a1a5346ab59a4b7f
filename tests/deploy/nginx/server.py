"""The real nginx, with the files of deploy/nginx."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import aiohttp

from chat_api.dev.postgres.installation import run_as
from chat_api.dev.tether import tethered
from tests.support.processes import SECONDS, free_port, until
from tests.support.programs import program

ROOT = Path(__file__).parents[3]
FILES = ROOT / "deploy" / "nginx"
AUTHORITY = ROOT / "tests" / "support" / "fixtures" / "tls" / "authority.pem"
MAIN = """
daemon off;
worker_processes 2;
pid {folder}/pid;
error_log {folder}/error.log notice;
events {{ worker_connections 256; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/temporary;
    proxy_temp_path {folder}/temporary;
    fastcgi_temp_path {folder}/temporary;
    uwsgi_temp_path {folder}/temporary;
    scgi_temp_path {folder}/temporary;
    include conf.d/*.conf;
    include sites-enabled/*;
}}
"""


OWN_HOSTS = ("own-host", "oauth2-proxy")
"""The sites in which the service has a host of its own."""


class Nginx:
    """nginx with one of the sites, on ports of its own, as an operator would adapt the files.

    `upstream` names the snippet. `adapted` maps places in the files to replacements. Everything that is to be
    replaced must be in the files.
    """

    def __init__(self, site: str, upstream: str, adapted: Mapping[str, str]) -> None:
        self.port, self.plain_port = free_port(), free_port()
        self._site = site
        self._upstream = upstream
        self._adapted = adapted
        self._nginx = program("nginx")
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._temporary = tempfile.TemporaryDirectory(prefix="chat-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self.folder.chmod(0o755)
        self._write()
        self._user = run_as(self.folder)  # as root, nginx would run its workers as another user
        if self._user is not None:
            os.chown(self.folder, *self._user)
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self._temporary.cleanup()

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        before = self.log.count("start worker processes")
        command = [self._nginx, "-e", f"{self.folder}/error.log", "-c", f"{self.folder}/nginx.conf"]
        self._process = await asyncio.create_subprocess_exec(
            *tethered(command, signal.SIGTERM, self._user),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # the log has stderr, too
        )

        async def listens() -> bool:
            assert self._process is not None
            assert self._process.returncode is None, self.log
            return self.log.count("start worker processes") > before  # by then its ports are bound

        await until(listens)

    async def stop(self) -> None:
        """End it at once, even if clients are connected."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(SECONDS):
                assert await self._process.wait() == 0, self.log

    async def reload(self) -> None:
        """Make it reload its files, and wait until the old workers accept no more connections."""
        before = self.log.count("gracefully shutting down")
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

        async def done() -> bool:
            return self.log.count("gracefully shutting down") == before + 2

        await until(done)

    @property
    def log(self) -> str:
        """nginx's error log."""
        log = self.folder / "error.log"
        return log.read_text() if log.exists() else ""

    @property
    def url(self) -> str:
        """Its address over TLS."""
        return f"https://localhost:{self.port}"

    def connect(self) -> aiohttp.ClientSession:
        """A client that trusts the authority of its certificate."""
        context = ssl.create_default_context(cafile=str(AUTHORITY))
        return aiohttp.ClientSession(self.url, connector=aiohttp.TCPConnector(ssl=context))

    def _write(self) -> None:
        shutil.copytree(FILES, self.folder, dirs_exist_ok=True)
        enabled = self.folder / "sites-enabled"
        enabled.mkdir()
        (self.folder / "sites-available" / f"chat-api-{self._site}.conf").rename(enabled / "chat-api.conf")
        shutil.copy(ROOT / "tests" / "support" / "fixtures" / "tls" / "localhost.pem", self.folder)
        (self.folder / "html").mkdir()
        (self.folder / "html" / "index.html").write_text("the site's own page")
        (self.folder / "nginx.conf").write_text(MAIN.format(folder=self.folder))
        name = "chat" if self._site in OWN_HOSTS else "site"
        certificates = f"/etc/letsencrypt/live/{name}.example"
        listen = {"443 ssl": f"127.0.0.1:{self.port} ssl"}
        if self._site == "own-host":
            listen["80"] = f"127.0.0.1:{self.plain_port}"
        self._adapt(enabled / "chat-api.conf", {f"    listen [::]:{old}": "    # " + old for old in listen})
        self._adapt(
            enabled / "chat-api.conf", {f"listen {old}": f"listen {new}" for old, new in listen.items()}
        )
        places = {
            f"{certificates}/fullchain.pem": f"{self.folder}/localhost.pem",
            f"{certificates}/privkey.pem": f"{self.folder}/localhost.pem",
            f"{name}.example": "localhost",
            "/var/www/html": f"{self.folder}/html",
        }
        if self._site == "oauth2-proxy":
            del places["/var/www/html"]
        self._adapt(enabled / "chat-api.conf", places)
        upstream = f"snippets/chat-api-{self._upstream}.conf"
        self._adapt(self.folder / "conf.d" / "chat-api.conf", {"snippets/chat-api-port.conf": upstream})
        for old, new in self._adapted.items():
            places = [self.folder / upstream, enabled / "chat-api.conf"]
            (place,) = [path for path in places if old in path.read_text()]
            self._adapt(place, {old: new})

    @staticmethod
    def _adapt(path: Path, changes: Mapping[str, str]) -> None:
        text = path.read_text()
        for old, new in changes.items():
            assert old in text, f"{old} is not in {path.name}"
            text = text.replace(old, new)
        path.write_text(text)
